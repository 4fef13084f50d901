"""Build plants below a root folder: in parallel, seeded, and only those that are not whole yet.

A plant is whole when its ``plant.json`` exists, which is written last; a folder without one is made anew. What
several plants share (healed drifts, the base with biases) is made first, in folders of its own.
"""

import json
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch
from transformers.utils.logging import disable_progress_bar

from mcinterp.errors import InputError
from mcinterp.organisms.plants.adapter import need_peft
from mcinterp.organisms.plants.designs import Design, designs_named
from mcinterp.organisms.plants.drift import drift
from mcinterp.organisms.plants.ground import SMOKE, WITH_BIASES, Effort, shipped_base, with_biases
from mcinterp.organisms.plants.growing import grow
from mcinterp.organisms.plants.record import RECORD_FILE, Plant, read_plant
from mcinterp.organisms.pocket import save_checkpoint
from mcinterp.organisms.pretrain import progress

SHARED_MARK = "whole.json"
"""Written last into a shared folder."""

Job = Callable[[], str]


def shared_of(design: Design) -> str | None:
    """The shared folder that a plant needs before it can be made."""
    if design.recipe in ("hard", "drift"):
        return f"drift-s{design.seed}"
    return WITH_BIASES if design.recipe == "activation" else None


def fresh(folder: Path) -> Path:
    """An empty folder in the place of what was there."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    return folder


def share(name: str, root: Path, effort: Effort) -> None:
    """Make what several plants share: a healed drift, or the base with biases."""
    base, folder = shipped_base(), fresh(root / name)
    if name == WITH_BIASES:
        pocket = with_biases(base)
    else:
        pocket = base.with_model(drift(base, int(name.removeprefix("drift-s")), effort.healing))
    save_checkpoint(pocket, folder)
    (folder / SHARED_MARK).write_text(json.dumps({"name": name}) + "\n", encoding="utf-8")


def share_job(root: Path, effort: Effort, name: str) -> str:
    """Make a shared folder; says how it went."""
    began = time.monotonic()
    share(name, root, effort)
    return f"{name}: made in {time.monotonic() - began:.0f} s"


def plant_job(root: Path, effort: Effort, design: Design) -> str:
    """Make a plant; says how it went."""
    began = time.monotonic()
    fresh(root / design.name)
    plant = grow(design, root, effort)
    return f"{plant.name}: {plant.note or 'as claimed'}, {time.monotonic() - began:.0f} s"


def one_thread() -> None:
    """Settings of a worker: one thread, no progress bars."""
    torch.set_num_threads(1)
    disable_progress_bar()


def run_all(jobs: Sequence[Job], processes: int) -> Iterator[str]:
    """The jobs' messages as they end; in this process if there is to be only one."""
    if processes == 1:
        threads = torch.get_num_threads()
        one_thread()
        try:
            yield from (job() for job in jobs)
        finally:
            torch.set_num_threads(threads)
        return
    pool = ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=one_thread)
    try:
        yield from (future.result() for future in as_completed([pool.submit(job) for job in jobs]))
    finally:
        pool.shutdown(cancel_futures=True)


def missing_shared(wanted: Iterable[Design], root: Path) -> list[str]:
    """Shared folders that are needed and not whole."""
    names = dict.fromkeys(name for name in map(shared_of, wanted) if name)
    return [name for name in names if not (root / name / SHARED_MARK).is_file()]


def build_plants(
    root: Path | str,
    names: Collection[str] | None = None,
    *,
    processes: int = 2,
    smoke: bool = False,
    say: Callable[[str], None] = progress,
) -> list[Plant]:
    """Make all plants of `designs`, or some of them by name, that are not whole yet; returns all that were asked.

    Each process has one thread. ``smoke`` trains for two steps only; ``say`` is told of every plant made.

    Raises:
        InputError: a name is of no design, ``processes`` is less than one, or ``peft`` is missing and wanted.
    """
    if processes < 1:
        raise InputError(f"got {processes} processes, wanted one or more: give the number of free cores.")
    root, effort, wanted = Path(root), SMOKE if smoke else Effort(), designs_named(names)
    missing = [design for design in wanted if not (root / design.name / RECORD_FILE).is_file()]
    if any(design.recipe == "lora" for design in missing):
        need_peft()
    shared = [partial(share_job, root, effort, name) for name in missing_shared(missing, root)]
    for jobs in (shared, [partial(plant_job, root, effort, design) for design in missing]):
        if jobs:
            for message in run_all(jobs, min(processes, len(jobs))):
                say(message)
    return [read_plant(root / design.name) for design in wanted]
