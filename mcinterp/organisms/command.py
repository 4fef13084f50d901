"""The command line of what trains pocket checkpoints: a folder, a seed, threads, tiny sizes."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from transformers.utils.logging import disable_progress_bar


def command_line(module: str, about: str | None, out: str) -> argparse.ArgumentParser:
    """A parser with the options that all trainings have; `out` says what its folder is."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=about)
    parser.add_argument("--out", type=Path, required=True, help=out)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, a run of seconds")
    return parser


def train(threads: int, call: Callable[[], object]) -> int:
    """Run a training on some threads; a ValueError becomes one line and exit status 2."""
    torch.set_num_threads(threads)
    disable_progress_bar()
    try:
        call()
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
