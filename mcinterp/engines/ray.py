"""Shards on the workers of a Ray cluster: each loads the chain once; what a dead worker had is done by another."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch

from mcinterp.engines.interface import Measure, Place, Shard, Written
from mcinterp.errors import InputError, first_line
from mcinterp.run.parts import Parts

PATIENCE_S = 600.0


class Task(NamedTuple):
    """A shard that a worker has, and which attempt it is."""

    worker: Any
    shard: Shard
    attempt: int


class Loaded:
    """What lives in a worker: the setting, loaded with the first shard, so that its errors are those of the shard."""

    load: Callable[[], Any]
    setting: Any

    def __init__(self, load: Callable[[], Any], threads: int) -> None:
        torch.set_num_threads(threads)
        self.load, self.setting = load, None

    def ready(self) -> bool:
        """Whether the worker has its place."""
        return True

    def shard(self, measure: Measure, shard: Shard, parts: Parts) -> Written:
        """Compute a shard and write its part."""
        self.setting = self.load() if self.setting is None else self.setting
        return Written(shard.name, parts.write(shard.name, measure(self.setting, shard.sequences)))


class RayEngine:
    """Computes on a Ray cluster; workers stay for the next analysis."""

    place: Place
    gpus: int

    def __init__(self, place: Place, load: Callable[[], Any], gpus: int) -> None:
        self.ray: Any = connected(place.address)
        self.place, self.gpus = place, gpus
        self.load: Any = self.ray.put(load)
        self.workers: list[Any] = []

    def run(self, measure: Measure, shards: Sequence[Shard], parts: Parts) -> Iterator[Written]:
        """Every shard as soon as it is written; a shard whose worker or node died is given to another.

        Raises `InputError` where a shard was lost `attempts` times, where no worker gets a place, and as the measure
        itself does.
        """
        if not shards:
            return
        queue = [(shard, 1) for shard in shards]
        waiting = {worker.ready.remote(): worker for worker in self.hired(len(queue))}
        running, idle = dict[Any, Task](), list[Any]()
        measured, placed = self.ray.put(measure), self.ray.put(parts)
        while queue or running:
            done, _ = self.ray.wait([*waiting, *running], timeout=PATIENCE_S)
            if not done and not running:
                raise InputError(
                    f"no Ray worker got a place within {PATIENCE_S:.0f} s; the cluster has "
                    f"{self.ray.cluster_resources()}: start a node with a free CPU (and GPU where one is asked for)."
                )
            for reference in done:
                task = running.pop(reference, None)
                worker = task.worker if task else waiting.pop(reference)
                found = self.result(reference)
                if found is None:
                    queue += [self.again(task)] if task else []
                    waiting |= {new.ready.remote(): new for new in self.replaced(worker)}
                else:
                    idle.append(worker)
                    if task:
                        yield found
            while queue and idle:
                (shard, attempt), worker = queue.pop(0), idle.pop()
                running[worker.shard.remote(measured, shard, placed)] = Task(worker, shard, attempt)

    def result(self, reference: Any) -> Any:
        """What a worker gave; None where it died."""
        errors = self.ray.exceptions
        try:
            return self.ray.get(reference)
        except (errors.RayActorError, errors.WorkerCrashedError, errors.OwnerDiedError, errors.NodeDiedError):
            return None
        except errors.RayTaskError as error:
            raise error.cause if isinstance(error.cause, Exception) else error from None

    def again(self, task: Task) -> tuple[Shard, int]:
        """A lost shard for its next attempt."""
        if task.attempt >= self.place.attempts:
            raise InputError(
                f"shard {task.shard.name} was lost with its worker {task.attempt} times (out of memory, perhaps); give "
                f"smaller shards with --shard-size, or fewer workers a node, and run again with --resume."
            )
        return task.shard, task.attempt + 1

    def hired(self, wanted: int) -> list[Any]:
        """Enough workers for some shards: those there are, and new ones as far as there is room."""
        room = int(self.ray.cluster_resources().get("GPU" if self.gpus else "CPU", 1))
        count = max(1, min(wanted, self.place.workers or room))
        while len(self.workers) < count:
            self.workers.append(self.worker())
        return self.workers[:count]

    def replaced(self, dead: Any) -> list[Any]:
        """A new worker for one that died."""
        self.workers = [worker for worker in self.workers if worker is not dead]
        self.workers.append(self.worker())
        return self.workers[-1:]

    def worker(self) -> Any:
        """A worker that waits for its place in the cluster."""
        kind = self.ray.remote(num_cpus=1, num_gpus=self.gpus, max_restarts=0)(Loaded)
        return kind.remote(self.load, torch.get_num_threads())


def connected(address: str | None) -> Any:
    """Ray, connected to the cluster at an address, in RAY_ADDRESS, or to a new one on this machine."""
    try:
        import ray
    except ImportError as error:
        raise InputError("Ray is not installed; run `pip install mcinterp[ray]`, or leave out --on ray.") from error
    if not ray.is_initialized():
        try:
            ray.init(address=address, log_to_driver=False, include_dashboard=False, configure_logging=False)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise InputError(f"the Ray cluster at {address!r} cannot be reached ({first_line(error)}).") from error
    return ray
