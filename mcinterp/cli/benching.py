"""`mcinterp bench`: measure methods on planted checkpoints, whose truth is known."""

import argparse
import os
from collections.abc import Sequence

from mcinterp.cli.options import Parser, sayer, words
from mcinterp.errors import InputError

OUT, PLANTS = "runs/bench", "plants"
HALVES = ("development", "report")
WHAT = {"localise": "how well methods find where a collapse was planted"}


def add_bench(verb: argparse.ArgumentParser) -> None:
    """What can be measured, and its options."""
    benches = verb.add_subparsers(dest="bench", metavar="WHAT", required=True, parser_class=Parser)
    localise = benches.add_parser("localise", help=WHAT["localise"], description=f"Measure {WHAT['localise']}.")
    localise.add_argument("--out", metavar="DIR", default=OUT, help=f"where results are written (default: {OUT})")
    localise.add_argument(
        "--plants", metavar="DIR", help="the planted checkpoints; missing ones are built there (default: OUT/plants)"
    )
    localise.add_argument(
        "--half",
        choices=[*HALVES, "both"],
        default="development",
        help="the half that methods may be made on, or the one to report (default: development)",
    )
    localise.add_argument("--kinds", metavar="NAMES", help="only these kinds of plants (default: all)")
    localise.add_argument("--methods", metavar="NAMES", help="only these methods (default: all)")
    localise.add_argument("--again", metavar="NAMES", help="ask these methods anew, whatever they answered before")
    localise.add_argument("--processes", type=int, default=2, metavar="N", help="worker processes (default: 2)")
    localise.add_argument("--quiet", action="store_true", help="no progress and no tables")
    localise.set_defaults(call=run_localise)


def run_localise(options: argparse.Namespace) -> None:
    """`mcinterp bench localise`."""
    os.environ["TQDM_DISABLE"] = "1"
    from mcinterp.benchmark.means import by_kind
    from mcinterp.benchmark.methods import chosen_methods
    from mcinterp.benchmark.running import run_benchmark
    from mcinterp.benchmark.table import halves_of, markdown, write_tables
    from mcinterp.organisms.plants.building import build_plants
    from mcinterp.show.benchmark_figures import write_localisation

    methods, again = words(options.methods), words(options.again) or ()
    for given in (methods, again or None):
        chosen_methods(given)
    names = plant_names(options.half, words(options.kinds))
    root, say = options.plants or os.path.join(options.out, PLANTS), sayer(options)
    plants = build_plants(root, names, processes=options.processes, say=say)
    found = run_benchmark(plants, root, options.out, methods=methods, again=again, processes=options.processes, say=say)
    written = write_tables(found, options.out)
    for half in halves_of(found):
        written += write_localisation(by_kind(found, half), options.out, half)
    if not options.quiet:
        print("\n".join(markdown(found, half, intervals=False) for half in halves_of(found)))
        print("\n".join(str(file) for file in written))


def plant_names(half: str, kinds: Sequence[str] | None) -> list[str]:
    """Planted designs by half and kind; `InputError` for an unknown kind."""
    from mcinterp.organisms.plants.designs import DESIGNS, KINDS

    unknown = [kind for kind in kinds or () if kind not in KINDS]
    if unknown:
        raise InputError(f"got {unknown[0]!r} for --kinds; give some of {', '.join(KINDS)}.")
    halves = HALVES if half == "both" else (half,)
    return [n for n, d in DESIGNS.items() if d.half in halves and (kinds is None or d.kind in kinds)]
