"""What pairs larger than memory take: peak memory over depth, sweeps at real shapes, layers streamed to a card.

An answer to `memory` is the peak of every placement over the depth of the model, each analysis in a process of its own,
with the numbers proven equal; it runs on a CPU. `sweep` patches a random pair of a real shape that a card holds, and
`stream` one that it does not; their answer is seconds beside what the same card reaches in matrix products and copies,
so they need a GPU (`--shape tiny --device cpu` tries the programs).

    python experiments/bench_scale.py memory            (about half an hour on one core)
    python experiments/bench_scale.py draw              (the picture of what `memory` wrote, again)
    python experiments/bench_scale.py sweep --shape 8b
    python experiments/bench_scale.py stream --shape 70b
"""

import argparse

from bench.scale import memory, picture, stream, sweep

VERBS = {"memory": memory, "draw": picture, "sweep": sweep, "stream": stream}


def main() -> None:
    """Run one verb."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    for name, module in VERBS.items():
        module.add_options(verbs.add_parser(name, help=(module.__doc__ or "").splitlines()[0]))
    options = parser.parse_args()
    VERBS[options.verb].run(options)


if __name__ == "__main__":
    main()
