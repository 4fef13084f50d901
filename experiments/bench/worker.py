"""A worker process: `python -m bench.worker MODULE SETUP` holds a pair and answers requests for sweeps.

One JSON request a line on standard input, one JSON reply a line on standard output; whatever else is printed goes to
standard error.
"""

import json
import os
import sys
import time
from importlib import import_module, metadata
from typing import Any, TextIO

import torch

from bench.protocol import Sweep
from bench.workloads import Cell


def only_replies() -> TextIO:
    """The standard output for replies alone: prints of the libraries are sent to standard error."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return replies


def serve(module: str, setup: dict[str, Any], replies: TextIO) -> None:
    """Load the pair, say the versions, and answer requests until the input ends."""
    library = import_module(f"bench.{module}")
    torch.set_num_threads(setup["threads"])
    torch.set_grad_enabled(False)
    loaded = library.SWEEP(*setup["pair"])
    versions = {name: metadata.version(name) for name in ("torch", "transformers", *library.PACKAGES)}
    print(json.dumps(versions), file=replies, flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(loaded, json.loads(line))), file=replies, flush=True)


def answer(loaded: Sweep, request: dict[str, Any]) -> dict[str, Any]:
    """Run one sweep; seconds of the clean passes and of the cells apart, so that a subset can be scaled."""
    cells, sequences = [Cell(*cell) for cell in request["cells"]], request["sequences"]
    start = time.perf_counter()
    donor = loaded.donor(sequences, cells)
    middle = time.perf_counter()
    found = loaded.patch(donor, sequences, cells, request["token"], request["variant"])
    end = time.perf_counter()
    return {"donor": middle - start, "cells": end - middle, "scores": loaded.read(found, cells)}


if __name__ == "__main__":
    serve(sys.argv[1], json.loads(sys.argv[2]), only_replies())
