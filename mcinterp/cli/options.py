"""What the verbs share: the parser, the checkpoints and prompts that every question names, and lists as text."""

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from mcinterp.errors import InputError


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one sentence, with exit status 2."""

    def error(self, message: str) -> NoReturn:
        """Print the sentence and leave."""
        self.exit(2, f"{self.prog}: {message}\n")


def question_parser() -> Parser:
    """The options of every verb that puts a question to checkpoints."""
    shared = Parser(add_help=False)
    shared.add_argument("base", metavar="BASE", help="the base checkpoint")
    shared.add_argument("tuned", metavar="TUNED", help="the checkpoint tuned from it")
    shared.add_argument("stages", metavar="STAGE", nargs="*", default=[], help="further stages, in order of training")
    shared.add_argument(
        "--prompts",
        metavar="FILE|battery:NAME",
        help="a text file (one a line), JSON Lines, or a shipped battery (default: one that fits the checkpoints)",
    )
    shared.add_argument(
        "--template", choices=["raw", "chat", "both"], default="raw", help="how prompts are rendered (default: raw)"
    )
    shared.add_argument(
        "--device", default="cpu", help="a torch device, or one a stage separated by commas (default: cpu)"
    )
    shared.add_argument(
        "--dtype",
        default="auto",
        help="float32, bfloat16, float16 or float64, or one a stage (default: float32 on cpu, else as stored)",
    )
    shared.add_argument(
        "--placement",
        choices=["auto", "together", "one", "stream"],
        default="auto",
        help="how weights are held: in memory, one model at a time, or layer by layer (default: the first that fits)",
    )
    shared.add_argument("--memory", type=float, metavar="GB", help="use at most this much on each device")
    shared.add_argument(
        "--store", default="auto", metavar="DTYPE", help="how activations wait on disk (default: in their own dtype)"
    )
    shared.add_argument("--deterministic", action="store_true", help="deterministic algorithms only, no TF32")
    shared.add_argument("--skip-bad", action="store_true", help="leave out prompts that cannot be used, and say which")
    shared.add_argument(
        "--allow-pickle", action="store_true", help="read pickled weights, with torch's restricted unpickler"
    )
    shared.add_argument(
        "--trust-remote-code", action="store_true", help="run code that a checkpoint brings; read it first"
    )
    shared.add_argument("--seed", type=int, default=0, help="seed of everything random (default: 0)")
    shared.add_argument("--quiet", action="store_true", help="no progress and no closing lines")
    return shared


def add_run_options(verb: argparse.ArgumentParser) -> None:
    """Options of the verbs that follow a token and write a run."""
    verb.add_argument("--out", metavar="DIR", help="run directory (default: runs/BASE-TUNED)")
    verb.add_argument(
        "--attractor", metavar="TEXT", help="follow this token (default: the last stage's most likely one)"
    )
    earlier = verb.add_mutually_exclusive_group()
    earlier.add_argument("--resume", action="store_true", help="continue the run in the directory where it stopped")
    earlier.add_argument("--replace", action="store_true", help="replace the run in the directory")
    verb.add_argument(
        "--shard-size", type=int, default=512, metavar="N", help="prompts computed and kept at a time (default: 512)"
    )
    verb.add_argument(
        "--on", choices=["local", "ray"], default="local", help="where shards are computed (default: local)"
    )
    verb.add_argument("--parts", metavar="URL", help="where shards wait (default: in the run directory)")
    verb.add_argument("--ray-address", metavar="HOST:PORT", help="a Ray cluster (default: RAY_ADDRESS, or a local one)")
    verb.add_argument("--workers", type=int, metavar="N", help="Ray workers at most (default: as many as have room)")


HELD = ("placement", "memory", "store", "deterministic", "skip_bad", "allow_pickle", "trust_remote_code")


def checkpoints_and_prompts(options: argparse.Namespace) -> dict[str, Any]:
    """What every question names, as the command line gave it."""
    return {
        "stages": (options.base, options.tuned, *options.stages),
        "prompts": options.prompts,
        "template": options.template,
        "device": listed(options.device),
        "dtype": listed(options.dtype),
        "seed": options.seed,
        **{name: getattr(options, name) for name in HELD},
    }


def asked(options: argparse.Namespace) -> dict[str, Any]:
    """The same for verbs that follow a token and write a run."""
    return {
        **checkpoints_and_prompts(options),
        "attractor": options.attractor,
        "shard_size": options.shard_size,
    }


def out_of(options: argparse.Namespace) -> str:
    """The run directory that was named, or the one named after the first and last stage, and their catalogue entry."""
    from mcinterp.checkpoints import parse_chain

    checkpoints = parse_chain([options.base, options.tuned, *options.stages])
    entries = {checkpoint.entry for checkpoint in checkpoints}
    entry = f"{entries.pop()}-" if len(entries) == 1 and None not in entries else ""
    return options.out or f"runs/{entry}{checkpoints[0].name}-{checkpoints[-1].name}"


def listed(value: str) -> str | list[str]:
    """One value, or several separated by commas."""
    return value.split(",") if "," in value else value


def words(value: str | None) -> tuple[str, ...] | None:
    """Words separated by commas; nothing where nothing was given."""
    return None if value is None else tuple(word.strip() for word in value.split(","))


def numbers(value: str | None, what: str) -> tuple[int, ...] | None:
    """Numbers and ranges (`0,3,5-8`, negative ones as they are); `InputError` for anything else."""
    if value is None:
        return None
    found: list[int] = []
    for word in value.split(","):
        match = re.fullmatch(r"(-?\d+)(?:-(-?\d+))?", word.strip())
        if match is None:
            raise InputError(f"got {value!r} for {what}; give numbers or ranges such as 0,3,5-8.")
        first, last = int(match[1]), int(match[2] or match[1])
        found += range(first, last + 1)
    return tuple(found)


def sayer(options: argparse.Namespace) -> Callable[[str], None]:
    """Where lines about progress go: standard error where that is a terminal, else nowhere."""
    if options.quiet or not sys.stderr.isatty():
        return lambda line: None
    return lambda line: print(line, file=sys.stderr)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of words in aligned columns; the first column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            word.ljust(w) if i == 0 else word.rjust(w) for i, (word, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
