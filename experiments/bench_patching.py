"""Times sweeps of cross-model activation patching: mcinterp beside loops of other libraries and the arithmetic floor.

Base activations are put into the tuned model of a random-weight Llama-shaped pair, and the final logits of every
patched run are read. All contenders take turns in every round; figures are medians over the rounds. Libraries that
patch one cell a forward pass are timed on a random subset of the cells (`--cells`) plus the clean pass of the donor,
and the time of the cells is scaled to all of them. They take two directions by running twice, so their time a direction
is that of one; `mcinterp_both` is half the time of one call with both directions.
"""

import argparse
import json
import platform
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from bench import floor, products
from bench.pairs import ROWS, best_rate, product_seconds, save_pair
from bench.processes import Unavailable, Worker, environment
from bench.row import CONTENDERS, Contender, Row
from bench.workloads import SHAPES, WORKLOADS, Shape, some

REPOSITORY = Path(__file__).resolve().parent.parent
TOKEN = 7


def time_row(row: Row, workers: dict[str, Worker | str], rounds: int) -> None:
    """One warm-up, then rounds in which every contender runs once."""
    model = products.weights(row.shape)
    for number in range(rounds + 1):
        if number:
            row.products.append({rows: product_seconds(row.shape, rows) for rows in ROWS})
            row.alone.append(products.seconds(row.shape, row.workload, model))
        for name, worker in workers.items():
            if name not in row.unavailable:
                time_once(row, name, worker, warm_up=not number)


def time_once(row: Row, name: str, worker: Worker | str, *, warm_up: bool) -> None:
    """One repetition of one contender; the warm-up's scores are kept, its time is not."""
    cells = row.asked(name)
    sequences = row.workload.sequences(row.shape)
    request = {"variant": CONTENDERS[name].variant, "sequences": sequences, "cells": cells, "token": TOKEN}
    try:
        if isinstance(worker, str):
            raise Unavailable(worker)
        reply = worker.ask(request)
    except Unavailable as problem:
        row.unavailable[name] = str(problem)
        row.raw.pop(name, None)
        return
    scores = reply.pop("scores")
    if warm_up:
        row.scores[name] = dict(zip(cells, scores, strict=True))
    else:
        row.raw.setdefault(name, []).append(reply)


def start_workers(
    names: list[str], pair: list[str], threads: int, environments: Path, stack: ExitStack
) -> dict[str, Worker | str]:
    """A process for each module that the contenders need, or why there is none."""
    modules: dict[str, Worker | str] = {}
    for name in names:
        contender = CONTENDERS[name]
        if contender.module not in modules:
            modules[contender.module] = start(contender, pair, threads, environments, stack)
    return {name: modules[CONTENDERS[name].module] for name in names}


def start(contender: Contender, pair: list[str], threads: int, environments: Path, stack: ExitStack) -> Worker | str:
    """One process with the pair loaded, or why it could not be started."""
    try:
        python = environment(contender.library, environments) if contender.library else Path(sys.executable)
        worker = Worker(python, contender.module, pair, threads)
    except Unavailable as problem:
        return str(problem)
    stack.callback(worker.close)
    return worker


def run(options: argparse.Namespace, versions: dict[str, dict[str, str]]) -> Iterator[Row]:
    """All rows: every size, number of threads and workload."""
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as folder:
            pair = save_pair(Path(folder), SHAPES[size])
            for threads in options.threads:
                yield from run_threads(options, versions, SHAPES[size], pair, threads)


def run_threads(
    options: argparse.Namespace, versions: dict[str, dict[str, str]], shape: Shape, pair: list[str], threads: int
) -> Iterator[Row]:
    """The workloads of one size at one number of threads."""
    torch.set_num_threads(threads)
    with ExitStack() as stack:
        workers = start_workers(options.contenders, pair, threads, options.environments, stack)
        versions.update({name: worker.versions for name, worker in workers.items() if isinstance(worker, Worker)})
        for workload in (WORKLOADS[name] for name in options.workloads):
            cells = workload.cells(shape)
            row = Row(shape, workload, threads, cells, some(cells, options.cells))
            time_row(row, workers, options.rounds)
            yield row


def show(row: Row, names: list[str]) -> None:
    """Print one row of the table, and below it what could not be timed and how far the scores are apart."""
    ratios = [row.median(row.reference) / row.median(name) for name in names]
    floors = [row.over_floor(name) for name in ("mcinterp", "mcinterp_both", row.reference)]
    floors.append(row.products_over_floor())
    scaled = f"{len(row.subset)}/{len(row.cells)}"
    lead = f"{row.shape.name:<7}{row.workload.name:<10}{row.threads:>3}{row.median(row.reference):>9.3f} s "
    lead += f"{row.reference:<11}{scaled:>9}"
    print(lead + "".join(f"{ratio:>16.2f}" for ratio in ratios) + "".join(f"{each:>10.1f}" for each in floors))
    apart = ", ".join(f"{name} {row.difference(name):.1e}" for name in names if name in row.scores)
    print(f"{'':7}largest difference of log-prob or entropy from {row.reference}: {apart}")
    for name, problem in row.unavailable.items():
        print(f"{'':7}{name}: not available: {problem}")
    sys.stdout.flush()


def show_head(names: list[str]) -> None:
    """Print what the columns are."""
    print("Columns of contenders: time of the faster TransformerLens loop over theirs, for one direction of a sweep.")
    print("Loops are timed on the cells of `timed/all` and scaled to all. /floor: time over that of the necessary")
    print("arithmetic at this machine's best rate; prod/fl.: the same for the sweep's matrix products alone.")
    lead = f"{'size':<7}{'workload':<10}{'thr':>3}{'TL':>9}   {'which':<11}{'timed/all':>9}"
    print(
        lead
        + "".join(f"{name:>16}" for name in names)
        + f"{'mc/floor':>10}{'both/fl.':>10}{'TL/floor':>10}{'prod/fl.':>10}"
    )


def record(row: Row) -> dict[str, Any]:
    """One row with all its repetitions, for the JSON file."""
    return {
        "size": row.shape.name,
        "workload": row.workload.name,
        "threads": row.threads,
        "cells": len(row.cells),
        "timed_cells_of_loops": len(row.subset),
        "seconds": {name: row.seconds(name) for name in row.raw},
        "parts": row.raw,
        "reference": row.reference,
        "floor_flop": floor.sweep(row.shape, row.workload),
        "floor_flop_both": floor.sweep(row.shape, row.workload, ends=1),
        "flop_per_second": best_rate(row.shape, row.products),
        "product_seconds": row.products,
        "products_alone_seconds": row.alone,
        "difference": {name: row.difference(name) for name in row.scores},
        "unavailable": row.unavailable,
    }


def processor() -> str:
    """The processor's name."""
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text().splitlines() if listed.exists() else []
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


def choices(known: dict[str, Any]) -> Callable[[str], list[str]]:
    """A parser of comma-separated names."""

    def parse(text: str) -> list[str]:
        wrong = [name for name in text.split(",") if name not in known]
        if wrong:
            raise argparse.ArgumentTypeError(f"{wrong[0]!r} is unknown; give some of {', '.join(known)}")
        return text.split(",")

    return parse


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    made.add_argument("--sizes", type=choices(SHAPES), default="d512,d768,d1024")
    made.add_argument("--workloads", type=choices(WORKLOADS), default=",".join(WORKLOADS))
    made.add_argument("--contenders", type=choices(CONTENDERS), default=",".join(CONTENDERS))
    made.add_argument("--threads", type=lambda text: [int(each) for each in text.split(",")], default="1")
    made.add_argument("--rounds", type=int, default=5)
    made.add_argument("--cells", type=int, default=24, help="most cells that loops are timed on")
    made.add_argument("--environments", type=Path, default=REPOSITORY / ".bench", help="where others are installed")
    made.add_argument("--out", type=Path, default=REPOSITORY / "figures" / "bench_patching.json")
    return made


def main() -> None:
    """Print the table as it grows and write all raw figures."""
    options = parser().parse_args()
    print(f"environments of the other libraries: {options.environments}")
    show_head(options.contenders)
    versions: dict[str, dict[str, str]] = {}
    rows = []
    for row in run(options, versions):
        show(row, options.contenders)
        rows.append(record(row))
        about = {"command": shlex.join(sys.argv), "processor": processor(), "python": platform.python_version()}
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps({**about, "versions": versions, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
