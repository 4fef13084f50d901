"""Run methods on planted checkpoints, a plant at a time in worker processes, and gather what they answered."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import torch
import xarray as xr

from mcinterp.benchmark.gathering import gathered
from mcinterp.benchmark.methods import Answer, Case, Method, chosen_methods
from mcinterp.benchmark.records import Record, entry, fingerprint, keep, lacking, opened
from mcinterp.chain import Chain, load_pair
from mcinterp.errors import InputError, first_line
from mcinterp.intervene.inputs import as_sequences
from mcinterp.organisms.plants.record import Plant, Task
from mcinterp.prompts import Prompts
from mcinterp.results import made_folder, save
from mcinterp.weights.scalar import judge

FAILURES = (ArithmeticError, LookupError, RuntimeError, ValueError)
"""What a method may raise over one plant without ending the run: bad input, numbers that do not come out."""


class Work(NamedTuple):
    """What one worker is given: a plant, where it lies and its answers go, and the methods that are asked."""

    plant: Plant
    root: str
    out: str
    methods: tuple[Method, ...]
    again: tuple[str, ...]


def run_benchmark(
    plants: Sequence[Plant],
    root: str | Path,
    out: str | Path,
    *,
    methods: Sequence[str] | None = None,
    again: Sequence[str] = (),
    processes: int = 2,
    say: Callable[[str], None] = print,
) -> xr.Dataset:
    """Ask methods on every task of some plants, and score them.

    Answers that lie in `out` already are kept, except those of the methods named in `again`; plants that do
    not show what was planted are left out. Every method has the task to itself and its time is processor time of one
    thread. A method that fails on a task is recorded with its sentence.

    Args:
        plants: Planted checkpoints that lie under `root`.
        root: The folder of the plants.
        out: Where `answers/PLANT.json` and `benchmark.nc` are written.
        methods: Names of registered methods, all by default.
        again: Methods that are asked too, and whose earlier answers are dropped.
        processes: Worker processes; with 1 everything runs in this one.
        say: Takes lines about progress.

    Returns:
        The dataset of `mcinterp.benchmark.gathering.gathered`.

    Raises:
        InputError: For an unknown method, fewer than 1 process, or no plant to run on.
    """
    asked = tuple(chosen_methods(None if methods is None else [*methods, *again]))
    chosen_methods(again or None)
    folder = made_folder(out, "give another --out")
    admitted = [plant for plant in plants if plant.collapsed]
    if not admitted or processes < 1:
        raise InputError(f"got {len(admitted)} plants and {processes} processes; give at least one of each.")
    for plant in [plant for plant in plants if not plant.collapsed]:
        say(f"{plant.name}: left out, {plant.note or 'it does not show what was planted'}")
    work = [Work(plant, str(root), str(folder), asked, tuple(again)) for plant in admitted]
    for number, line in enumerate(finished(work, processes), 1):
        say(f"{number} of {len(work)}: {line}")
    found = gathered(admitted, root, folder, [method.name for method in asked])
    save(found, folder / "benchmark.nc")
    return found


def finished(work: Sequence[Work], processes: int) -> Iterator[str]:
    """Do all work, and say of each plant that it is done; those that are done are kept when something breaks."""
    if processes == 1:
        yield from map(answer_plant, work)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(answer_plant, one) for one in work]
        try:
            yield from (future.result() for future in as_completed(futures))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def answer_plant(work: Work) -> str:
    """Ask every method that has not answered yet, on all tasks of a plant; a line about it."""
    record = opened(work.out, work.plant, fingerprint(work.root, work.plant))
    names = [method.name for method in work.methods]
    todo = {task.name: lacking(record, task.name, names, work.again) for task in work.plant.tasks}
    if not any(todo.values()):
        return f"{work.plant.name}: nothing new to ask"
    start = time.perf_counter()
    with one_thread():
        chain = load_pair(*work.plant.specs(work.root))
        for task in work.plant.tasks:
            asked = [method for method in work.methods if method.name in todo[task.name]]
            answer_task(chain, work, task, asked, record)
            keep(work.out, work.plant, record)
    count = sum(map(len, todo.values()))
    return f"{work.plant.name}: {count} answers in {time.perf_counter() - start:.0f} s"


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute on one thread for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def answer_task(chain: Chain, work: Work, task: Task, methods: Sequence[Method], record: Record) -> None:
    """Add the answers of some methods on one task to a record."""
    prompts = Prompts.from_file(work.plant.prompt_file(work.root, task))
    sequences, by = as_sequences(chain, prompts), grouping(task)
    components = Case(chain, sequences, by).components
    judge(chain, sequences, (0,), None)  # so that nobody's time holds what only the first run of a process costs
    of_task = record["tasks"][task.name]
    of_task["components"] = components
    for method in methods:
        of_task["answers"][method.name] = timed(method, Case(chain, sequences, by), components)


def grouping(task: Task) -> str:
    """Heads where a true component is one, else components."""
    return "head" if any(name.count(".") == 2 for name in task.truth) else "component"


def timed(method: Method, case: Case, components: Sequence[str]) -> Record:
    """A method's answer with its seconds of processor time, or the sentence of its failure."""
    start = time.process_time()
    try:
        answer = checked(method, method.answer(case), components)
    except FAILURES as error:
        return {"seconds": time.process_time() - start, "failed": first_line(error)}
    return entry(answer, components, time.process_time() - start)


def checked(method: Method, answer: Answer, components: Sequence[str]) -> Answer:
    """An answer that scores exactly the components there are; `InputError` for any other."""
    wrong = [name for name in components if not math.isfinite(answer.scores.get(name, math.nan))]
    wrong += [name for name in answer.scores if name not in components]
    if wrong:
        raise InputError(f"{method.name} gave no finite score for {wrong[0]!r}; score every component and no other.")
    return answer
