"""A process that measures one analysis of one pair: `python -m bench.scale.measuring REQUEST` prints one line of JSON.

The request names the pair's directories, placement, analysis and number of prompts, and a limit in bytes on the data
that the process may hold (`RLIMIT_DATA`), or none. It is set before any layer's weights are read; skeletons are built
before, since transformers maps all files while it looks through them and maps count as data. Everything is imported and
run once on the small shipped pair before it counts.
"""

import hashlib
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

import mcinterp
from bench.scale.meter import Meter
from bench.worker import only_replies
from mcinterp.errors import first_line
from mcinterp.placement.skeletons import residency_of

POCKET = ("pocket:base", "pocket:sft")
TEXTS = ("Pick a number.", "Are bugs real?", "Name a colour.", "Say yes or no.", "Tell me a word.", "Toss a coin.")
WIDTH = 300


def lens(chain: mcinterp.Chain, prompts: mcinterp.Prompts) -> xr.Dataset:
    """The logit lens of the prompts."""
    sequences = mcinterp.teacher_force(chain, chain.render(prompts), mcinterp.Decoding(0))
    return mcinterp.logit_lens(chain, sequences)


def patch(chain: mcinterp.Chain, prompts: mcinterp.Prompts) -> xr.Dataset:
    """The standard sites of all layers in both directions, without controls."""
    return mcinterp.patch(chain, prompts, controls=False, interaction=False)


def grafts(chain: mcinterp.Chain, prompts: mcinterp.Prompts) -> xr.Dataset:
    """Every component of the weights in both directions."""
    return mcinterp.graft_sweep(chain, prompts, by="component")


ANALYSES: dict[str, Callable[[mcinterp.Chain, mcinterp.Prompts], xr.Dataset]] = {
    "logit_lens": lens,
    "patch": patch,
    "graft_sweep": grafts,
}


def measure(request: dict[str, Any]) -> dict[str, Any]:
    """Peaks, seconds, what was read and the digest of the numbers; `error` in their place where memory did not do."""
    torch.set_num_threads(1)
    run = ANALYSES[request["analysis"]]
    prompts = mcinterp.Prompts.from_texts(TEXTS[: request["prompts"]])
    run(mcinterp.load_pair(*POCKET, placement=request["placement"]), prompts)
    with Meter() as meter:
        try:
            found = timed(run, request, prompts)
        except (MemoryError, RuntimeError, ValueError, OSError) as error:
            said = first_line(error).replace(str(Path(request["pair"][0]).parent), "PAIR")
            found = {"error": f"{type(error).__name__}: {said[:WIDTH]}"}
    return {**found, **meter.peaks()}


def timed(
    run: Callable[[mcinterp.Chain, mcinterp.Prompts], xr.Dataset], request: dict[str, Any], prompts: mcinterp.Prompts
) -> dict[str, Any]:
    """Load the pair, run the analysis, and say what it took."""
    start = time.perf_counter()
    chain = opened(request)
    loaded = time.perf_counter()
    found = run(chain, prompts)
    ended = time.perf_counter()
    held = [residency for stage in chain.stages if (residency := residency_of(stage.bridge)) is not None]
    return {
        "load_seconds": loaded - start,
        "run_seconds": ended - loaded,
        "reads_a_layer": [[each.reads[layer] for layer in range(len(each.layers))] for each in held],
        "bytes_read": sum(each.bytes_read for each in held),
        "digest": digest(found),
    }


def opened(request: dict[str, Any]) -> mcinterp.Chain:
    """The pair, loaded, under the limit where one is asked for."""
    chain = mcinterp.load_chain(request["pair"], names=["base", "tuned"], placement=request["placement"], lazy=True)
    if request["placement"] != "together":
        assert all(stage.bridge is not None for stage in chain.stages)
    if request.get("limit"):
        resource.setrlimit(resource.RLIMIT_DATA, (request["limit"], request["limit"]))
    assert all(stage.bridge is not None for stage in chain.stages)
    return chain


def digest(found: xr.Dataset) -> str:
    """SHA-256 over names and bytes of all variables and coordinates."""
    made = hashlib.sha256()
    for name in sorted(map(str, found.variables)):
        values = np.ascontiguousarray(found[name].values)
        made.update(f"{name} {values.dtype} {values.shape} ".encode())
        made.update(repr(values.tolist()).encode() if values.dtype == object else values.tobytes())
    return made.hexdigest()


if __name__ == "__main__":
    replies = only_replies()
    print(json.dumps(measure(json.loads(sys.argv[1]))), file=replies, flush=True)
