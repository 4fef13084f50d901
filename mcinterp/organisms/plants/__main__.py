"""Build the plants: ``python -m mcinterp.organisms.plants --out DIR``.

Takes about nine minutes on two quiet CPU cores. Plants that are whole already are left as they are.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mcinterp.errors import InputError
from mcinterp.organisms.plants.designs import DESIGNS, HALVES, KINDS


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; bad input becomes one line and exit status 2."""
    parser = argparse.ArgumentParser(prog="python -m mcinterp.organisms.plants", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder below which the plants lie")
    parser.add_argument("--half", nargs="+", choices=HALVES, default=list(HALVES))
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), metavar="KIND")
    parser.add_argument("--names", nargs="+", metavar="PLANT", help="these plants only, whatever their half and kind")
    parser.add_argument("--processes", type=int, default=2, help="each has one thread")
    parser.add_argument(
        "--smoke", action="store_true", help="two steps a plant, which teach nothing: into a folder of its own"
    )
    chosen = parser.parse_args(arguments)
    named = chosen.names or [n for n, d in DESIGNS.items() if d.half in chosen.half and d.kind in chosen.kinds]
    from mcinterp.organisms.plants.building import build_plants

    try:
        plants = build_plants(chosen.out, named, processes=chosen.processes, smoke=chosen.smoke)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{sum(plant.collapsed for plant in plants)} of {len(plants)} plants are what they claim to be.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
