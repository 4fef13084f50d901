"""The full standard patching sweep of a random pair of a real shape that its device holds, beside the ceilings."""

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch

from bench.scale import ceilings, loop, pairs
from bench.scale.record import about, require_device, write
from bench.scale.shapes import SHAPES, Shape
from bench.scale.work import Calls, measured, needed_token_layers, patch, patched_runs, plain_token_layers

VERIFIED = 4


def add_options(verb: argparse.ArgumentParser) -> None:
    """What may be asked of this verb."""
    verb.add_argument("--shape", choices=list(SHAPES), default="8b")
    verb.add_argument("--device", default="cuda")
    verb.add_argument("--dtype", default="bfloat16")
    verb.add_argument("--prompts", type=int, default=16)
    verb.add_argument("--tokens", type=int, default=64)
    verb.add_argument("--rounds", type=int, default=3)
    verb.add_argument("--cells", type=int, default=24, help="cells of TransformerLens' loop that are timed each round")
    verb.add_argument("--out", type=Path, default=Path("figures/bench_sweep.json"))


def run(options: argparse.Namespace) -> None:
    """Measure, print and write."""
    device, shape = require_device(options.device), SHAPES[options.shape]
    with tempfile.TemporaryDirectory(prefix="mcinterp-bench-") as folder:
        pairs.write_settings(Path(folder), shape, options.dtype)
        best = {"flop_per_second": ceilings.products(device, getattr(torch, options.dtype))}
        best["bytes_per_second"] = ceilings.copies(device)
        found = swept(Path(folder), shape, options, device)
    record = {**about(device), "shape": vars(shape), "dtype": options.dtype, "ceilings": best, **found}
    record |= shares(record, shape, best, options)
    show(record)
    write(options.out, record)


def swept(folder: Path, shape: Shape, options: argparse.Namespace, device: str) -> dict[str, Any]:
    """All rounds of the sweep, and some cells against the plain loop."""
    chain = pairs.resident(folder, shape, options.dtype, device)
    rendered = pairs.prompts(shape, options.prompts, options.tokens)
    few = pairs.prompts(shape, 1, options.tokens, seed=1)
    checked = patch(chain, few, verify=VERIFIED)
    calls = Calls(chain)
    rounds, loops = [], []
    for _ in range(options.rounds):
        rounds.append(measured(lambda: patch(chain, rendered), calls, shape, device, options.tokens)[1])
        loops.append(loop.seconds(chain, rendered, device, options.cells))
    return {
        "prompts": options.prompts,
        "tokens": options.tokens,
        "engine": checked.attrs["engine"],
        "verified_cells": checked.attrs["verified_cells"],
        "verified_difference": checked.attrs["verified_difference"],
        "noise_floor": checked.attrs["noise_floor"],
        "seconds": statistics.median(each["seconds"] for each in rounds),
        "rounds": rounds,
        "transformerlens_seconds": statistics.median(each["seconds"] for each in loops),
        "transformerlens_rounds": loops,
    }


def shares(record: dict[str, Any], shape: Shape, best: dict[str, float], options: argparse.Namespace) -> dict[str, Any]:
    """Runs a second, and what the sweep takes of the ceilings: arithmetic done and needed, and weights read."""
    seconds, first = record["seconds"], record["rounds"][0]
    width = torch.finfo(getattr(torch, options.dtype)).bits // 8
    needed = needed_token_layers(shape, options.prompts, options.tokens)
    runs = patched_runs(shape, options.prompts)
    readouts = (runs + 2 * options.prompts) * shape.readout_flop
    touched = first["layer_calls"] * shape.layer_weights * width
    return {
        "patched_runs": runs,
        "runs_per_second": runs / seconds,
        "token_layers": first["token_layers"],
        "token_layers_needed": needed,
        "token_layers_plain": plain_token_layers(shape, options.prompts, options.tokens),
        "weights_bytes": 2 * shape.weights * width,
        "readout_flop": readouts,
        "share_of_products": (first["flop"] + readouts) / seconds / best["flop_per_second"],
        "share_of_products_needed": (needed * shape.layer_flop(options.tokens) + readouts)
        / seconds
        / best["flop_per_second"],
        "share_of_bandwidth": touched / seconds / best["bytes_per_second"],
    }


def show(record: dict[str, Any]) -> None:
    """Print the figures."""
    best, first = record["ceilings"], record["rounds"][0]
    loops = record["transformerlens_seconds"]
    print(
        f"{record['shape']['name']} pair in {record['dtype']} on {record['device']}: {record['patched_runs']} patched "
        f"runs ({record['prompts']} prompts of {record['tokens']} tokens) in {record['seconds']:.3g} s, "
        f"{record['runs_per_second']:.4g} a second; a loop of TransformerLens, one pass of all prompts a cell, takes "
        f"{loops:.3g} s, {loops / record['seconds']:.3g} times as long\n"
        f"token-layers {record['token_layers']:.4g} (needed {record['token_layers_needed']:.4g}, one pass a cell "
        f"{record['token_layers_plain']:.4g})\n"
        f"ceilings here: {best['flop_per_second'] / 1e12:.4g} TFLOP/s, {best['bytes_per_second'] / 1e9:.4g} GB/s; "
        f"reached {record['share_of_products']:.1%} of the products (necessary arithmetic alone "
        f"{record['share_of_products_needed']:.1%}), {record['share_of_bandwidth']:.1%} of the bandwidth\n"
        f"peak memory: device {first['peak_device_bytes']} bytes (weights {record['weights_bytes']}), host "
        f"{first['host']['peak_resident']} bytes above the beginning\n"
        f"{record['verified_cells']} cells against the plain loop: {record['verified_difference']:.2g} nats apart; "
        f"noise floor {record['noise_floor']:.2g}"
    )
