"""Peak memory of analyses over depth, for every placement, each in a process of its own; and under a hard limit."""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from bench.processes import last_line, surroundings
from bench.scale.files import write_pair
from bench.scale.picture import draw
from bench.scale.record import about, write
from bench.scale.shapes import EVEN, Shape

ANALYSES = ("logit_lens", "patch", "graft_sweep")
PLACEMENTS = ("together", "one", "stream")
PEAKS = ("peak_anonymous", "peak_file", "peak_resident")
SECONDS = ("load_seconds", "run_seconds")
QUICK = 12.0
MB, FULL = 1e6, torch.finfo(torch.float32).bits // 8
NO_RESERVE = {"MIMALLOC_ARENA_RESERVE": "16384", "MALLOC_MMAP_THRESHOLD_": str(2**20)}


def ask(pair: list[str], placement: str, analysis: str, options: argparse.Namespace, **more: Any) -> dict[str, Any]:
    """One measurement in a fresh process; `error` says what it died of."""
    request = {"pair": pair, "placement": placement, "analysis": analysis, "prompts": options.prompts}
    request["limit"] = more.get("limit")
    command = [sys.executable, "-m", "bench.scale.measuring", json.dumps(request)]
    env = {**surroundings(1), **more.get("env", {})}
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    if done.returncode:
        return {"error": f"exit status {done.returncode}: {last_line(done.stderr)}"}
    return json.loads(done.stdout.splitlines()[-1])


def row(
    shape: Shape, placement: str, analysis: str, runs: list[dict[str, Any]], expected: str | None
) -> dict[str, Any]:
    """Medians of some runs of one placement and analysis, beside the sizes that they are compared with."""
    layer, model = FULL * shape.layer_weights, FULL * shape.weights
    found = {name: statistics.median(run[name] for run in runs) for name in (*PEAKS, *SECONDS)}
    return {
        "depth": shape.n_layers,
        "placement": placement,
        "analysis": analysis,
        "layer_bytes": layer,
        "outside_bytes": FULL * shape.outside_weights,
        "model_bytes": model,
        **found,
        "peak_over_pair": found["peak_anonymous"] / (2 * model),
        "peak_in_layers": (found["peak_anonymous"] - 2 * FULL * shape.outside_weights) / layer,
        "reads_a_layer": [max(reads) for reads in runs[0]["reads_a_layer"]],
        "bytes_read": runs[0]["bytes_read"],
        "equal_to_together": all(run["digest"] == (expected or runs[0]["digest"]) for run in runs),
        "repetitions": len(runs),
        "runs": [{name: run[name] for name in (*PEAKS, *SECONDS, "before_anonymous", "samples")} for run in runs],
    }


def rows(pair: list[str], shape: Shape, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """All placements and analyses of one depth; quick ones several times."""
    for analysis in options.analyses:
        expected = None
        for placement in PLACEMENTS:
            runs = [ask(pair, placement, analysis, options)]
            quick = sum(runs[0].get(name, QUICK) for name in SECONDS) < QUICK
            runs += [ask(pair, placement, analysis, options) for _ in range(options.rounds - 1 if quick else 0)]
            failed = next((run["error"] for run in runs if "error" in run), None)
            if failed is not None:
                raise RuntimeError(f"{shape.n_layers} layers, {placement}, {analysis}: {failed}")
            expected = runs[0]["digest"] if placement == "together" else expected
            yield row(shape, placement, analysis, runs, expected)


def limited(pair: list[str], shape: Shape, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The deepest pair under a hard limit on the process's data, beside the same without one.

    What allocators reserve and do not use counts as data, so all of these processes have them reserve little.
    """
    free = ask(pair, "together", "logit_lens", options, env=NO_RESERVE)
    limit = int(free["before_data"] + options.allowance * MB)
    about_limit = {"limit_bytes": limit, "before_data": free["before_data"], "allowed_bytes": options.allowance * MB}
    sizes = {"pair_bytes": 2 * FULL * shape.weights, "pair_over_limit": 2 * FULL * shape.weights / limit}
    for placement in PLACEMENTS:
        found = ask(pair, placement, "logit_lens", options, limit=limit, env=NO_RESERVE)
        equal = found.get("digest") == free["digest"]
        kept = {name: found[name] for name in ("error", *PEAKS, *SECONDS) if name in found}
        yield {"depth": shape.n_layers, "placement": placement, **about_limit, **sizes, **kept, "equal": equal}


def show(found: dict[str, Any]) -> None:
    """Print one row."""
    lead = f"{found['depth']:>3} layers  {found['analysis']:<12}{found['placement']:<10}"
    peaks = "".join(f"{found[name] / MB:>9.0f}" for name in PEAKS)
    ratios = f"{found['peak_over_pair']:>8.2f}{found['peak_in_layers']:>8.1f}"
    print(f"{lead}{peaks}{ratios}{found['load_seconds']:>8.1f}{found['run_seconds']:>8.1f}", end="  ", flush=True)
    print(f"reads {found['reads_a_layer']}  equal {found['equal_to_together']}  ({found['repetitions']})", flush=True)


def show_limited(found: dict[str, Any]) -> None:
    """Print what came of one placement under the limit."""
    lead = f"limit {found['limit_bytes'] / MB:.0f} MB, pair {found['pair_bytes'] / MB:.0f} MB, {found['placement']}: "
    print(lead + found.get("error", f"runs, numbers equal {found['equal']}"), flush=True)


def add_options(verb: argparse.ArgumentParser) -> None:
    """What may be asked of this verb."""
    verb.add_argument("--depths", type=lambda text: [int(each) for each in text.split(",")], default="6,12,24,48")
    verb.add_argument("--analyses", type=lambda text: text.split(","), default=",".join(ANALYSES))
    verb.add_argument("--prompts", type=int, default=2)
    verb.add_argument("--rounds", type=int, default=3, help="repetitions of what is quick")
    verb.add_argument("--stored", default="bfloat16", help="dtype of the files; in memory weights are float32")
    verb.add_argument("--allowance", type=float, default=400.0, help="MB that may be added under the hard limit")
    verb.add_argument("--out", type=Path, default=Path("figures/bench_memory.json"))


def run(options: argparse.Namespace) -> None:
    """Print the table as it grows, and write all figures."""
    print("peaks in MB above the process before loading: anonymous, file, resident; anonymous over the pair's weights,")
    print("and in layers (without embeddings and unembeddings); seconds to load and to run")
    record = {**about(), "stored": options.stored, "prompts": options.prompts, "rows": [], "limited": []}
    for depth in options.depths:
        shape = EVEN.deep(depth)
        with tempfile.TemporaryDirectory(prefix="mcinterp-bench-") as folder:
            pair = write_pair(Path(folder), shape, options.stored)
            for found in rows(pair, shape, options):
                show(found)
                record["rows"].append(found)
                write(options.out, record)
            if depth == max(options.depths):
                for found in limited(pair, shape, options):
                    show_limited(found)
                    record["limited"].append(found)
                write(options.out, record)
    draw(options.out)
