"""A random pair that its device does not hold, streamed layer by layer from disk; layers repeat a few files."""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

import mcinterp
from bench.scale import ceilings, pairs
from bench.scale.record import about, require_device, write
from bench.scale.shapes import SHAPES, Shape
from bench.scale.work import Calls, lens, measured, patch, patched_runs
from mcinterp.placement.skeletons import residency_of

Analysis = Callable[[mcinterp.Chain, mcinterp.Prompts], xr.Dataset]
ANALYSES: dict[str, Analysis] = {"logit_lens": lens, "patch": patch}
CHECKED_BYTES = 10**9


def add_options(verb: argparse.ArgumentParser) -> None:
    """What may be asked of this verb."""
    verb.add_argument("--shape", choices=list(SHAPES), default="70b")
    verb.add_argument("--layers", type=int, default=None, help="fewer layers of the real size")
    verb.add_argument("--device", default="cuda")
    verb.add_argument("--dtype", default="bfloat16")
    verb.add_argument("--distinct", type=int, default=3, help="layers that have files of their own; others repeat them")
    verb.add_argument("--cold", action="store_true", help="read from the disk each time, not from the page cache")
    verb.add_argument("--prompts", type=int, default=16)
    verb.add_argument("--tokens", type=int, default=64)
    verb.add_argument("--folder", type=Path, default=None, help="where the files of layers are written for a while")
    verb.add_argument("--out", type=Path, default=Path("figures/bench_stream.json"))


def run(options: argparse.Namespace) -> None:
    """Measure, print and write."""
    device, shape = require_device(options.device), SHAPES[options.shape]
    shape = shape if options.layers is None else shape.deep(options.layers)
    distinct = min(options.distinct, shape.n_layers)
    with tempfile.TemporaryDirectory(prefix="mcinterp-bench-", dir=options.folder) as place:
        folder = Path(place)
        pairs.write_settings(folder, shape, options.dtype)
        chain = pairs.streamed(folder, shape, options.dtype, device, distinct, cold=options.cold)
        best = ceilings_of(next((folder / "base").glob("layer-*")), device, options.dtype)
        record = {**about(device), "shape": vars(shape), "dtype": options.dtype, "ceilings": best}
        record |= {"prompts": options.prompts, "tokens": options.tokens, "distinct_layers": distinct}
        record |= {"layers_from": layers_from(shape, distinct, cold=options.cold), "cold": options.cold}
        print(record["layers_from"])
        found = {name: one(chain, analysis, shape, options, device) for name, analysis in ANALYSES.items()}
        record["analyses"] = {name: row | shares(row, best) for name, (_, row) in found.items()}
        if fits(shape, options.dtype):
            whole = pairs.resident(folder, shape, options.dtype, device, distinct)
            for name, (dataset, _) in found.items():
                record["analyses"][name]["equal_to_together"] = same(
                    dataset, ANALYSES[name](whole, prompts_of(options))
                )
    show(record)
    write(options.out, record)


def layers_from(shape: Shape, distinct: int, *, cold: bool) -> str:
    """Where the layers' weights come from, in one sentence."""
    where = "dropped from the page cache after each reading" if cold else "which the page cache may hold"
    return (
        f"the {shape.n_layers} layers of each model are read from {distinct} files of real size that repeat, {where}; "
        f"times are those of the real shape, the weights' values are random"
    )


def ceilings_of(file: Path, device: str, dtype: str) -> dict[str, float | None]:
    """Products, the bus, and reading one layer's file."""
    rates = ceilings.disk(file)
    return {
        "flop_per_second": ceilings.products(device, getattr(torch, dtype)),
        "bus_bytes_per_second": ceilings.bus(device),
        "disk_bytes_per_second": rates["disk"],
        "cache_bytes_per_second": rates["cached"],
    }


def prompts_of(options: argparse.Namespace) -> mcinterp.Prompts:
    """The prompts that are asked about."""
    return pairs.prompts(SHAPES[options.shape], options.prompts, options.tokens)


def one(
    chain: mcinterp.Chain, analysis: Analysis, shape: Shape, options: argparse.Namespace, device: str
) -> tuple[xr.Dataset, dict[str, Any]]:
    """One analysis: its numbers, and what it read and took."""
    held = [residency for stage in chain.stages if (residency := residency_of(stage.bridge)) is not None]
    reads, size = [each.reads.copy() for each in held], sum(each.bytes_read for each in held)
    calls = Calls(chain)
    found, row = measured(lambda: analysis(chain, prompts_of(options)), calls, shape, device, options.tokens)
    counts = [max((each.reads - before).values(), default=0) for each, before in zip(held, reads, strict=True)]
    read = sum(each.bytes_read for each in held) - size
    return found, row | {
        "bytes_read": read,
        "bytes_per_second": read / row["seconds"],
        "reads_a_layer": counts,
        "patched_runs": patched_runs(shape, options.prompts) if analysis is patch else 0,
    }


def shares(row: dict[str, Any], best: dict[str, float | None]) -> dict[str, float | None]:
    """What a run reaches of each ceiling; above one of the disk's where the page cache serves it."""
    own = {"flop_per_second": row["flop"] / row["seconds"]}
    return {
        f"share_of_{name}": own.get(name, row["bytes_per_second"]) / rate if rate else None
        for name, rate in best.items()
    }


def fits(shape: Shape, dtype: str) -> bool:
    """Whether the whole pair is small enough to run in memory beside."""
    return 2 * shape.weights * torch.finfo(getattr(torch, dtype)).bits // 8 < CHECKED_BYTES


def same(one: xr.Dataset, other: xr.Dataset) -> bool:
    """Whether all numbers are the same, bit for bit."""
    return all(
        np.array_equal(one[name].values, other[name].values, equal_nan=one[name].dtype.kind == "f")
        for name in one.variables
    )


def show(record: dict[str, Any]) -> None:
    """Print the figures."""
    best = {name: rate for name, rate in record["ceilings"].items() if rate}
    print("ceilings here: " + ", ".join(f"{name} {rate:.3g}" for name, rate in best.items()))
    for name, row in record["analyses"].items():
        peak = f"device {row['peak_device_bytes']} bytes, " if row["peak_device_bytes"] else ""
        print(
            f"{record['shape']['name']} {name}: {row['seconds']:.3g} s, {row['bytes_read'] / 1e9:.4g} GB read "
            f"({row['bytes_per_second'] / 1e9:.3g} GB/s, each layer {row['reads_a_layer']} times), token-layers "
            f"{row['token_layers']:.4g}; peak {peak}host {row['host']['peak_anonymous']} bytes anonymous; "
            + ", ".join(f"{key} {share:.1%}" for key, share in row.items() if key.startswith("share") and share)
            + (f"; equal to weights in memory: {row['equal_to_together']}" if "equal_to_together" in row else "")
        )
