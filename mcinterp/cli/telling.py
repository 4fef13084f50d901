"""What every verb that writes a run tells its job besides the question, and says when it is done."""

import argparse
from typing import TYPE_CHECKING, Any

from mcinterp.cli.headline import headline
from mcinterp.cli.options import sayer

if TYPE_CHECKING:
    from mcinterp.run import Run


def how(options: argparse.Namespace) -> dict[str, Any]:
    """What becomes of an earlier run, where shards are computed, and who is told of steps."""
    from mcinterp.engines.interface import Place

    existing = "resume" if options.resume else "replace" if options.replace else "refuse"
    place = Place(options.on, options.parts, options.ray_address, options.workers)
    return {"existing": existing, "place": place, "say": sayer(options)}


def tell(options: argparse.Namespace, run: "Run") -> None:
    """What a run found and where its report lies, unless silence was asked for."""
    from mcinterp.run import REPORT, SUMMARY

    if options.quiet:
        return
    if run.made_before:
        print(f"{run.path} was finished before: nothing was computed again\n")
    print(headline(run.read(SUMMARY)))
    print(f"report: {run.path / REPORT}")
