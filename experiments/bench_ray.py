"""Times shards of a comparison on more and more local Ray nodes, and once more while a node is killed.

Every node has one worker of one thread, which loads the pocket pair once, before the clock starts. A shard is the logit
lens and the patching sweep of some prompts. Numbers of workers take turns in every round; figures are medians. In the
last run a node is killed when a third of the shards is done. All shards of all runs are compared with those of one
process. Wants the extra `ray`; no number of workers can be faster than the cores of the machine.

Command: `OMP_NUM_THREADS=1 python experiments/bench_ray.py`
"""

import argparse
import os
import statistics
import tempfile
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
import xarray as xr
from bench.scale.record import about, write

from mcinterp.engines.interface import Engine, Place, Shard
from mcinterp.engines.local import LocalEngine
from mcinterp.intervene.inputs import as_sequences
from mcinterp.intervene.patching import patch
from mcinterp.jobs.question import Asked, Question, ask
from mcinterp.lens import logit_lens
from mcinterp.run.parts import Parts
from mcinterp.sequences import Sequences
from mcinterp.shards import bounds_of, part_of

QUESTION = Question(("pocket:base", "pocket:sft"), prompts="battery:pocket")


def measure(asked: Asked, sequences: Sequences) -> xr.Dataset:
    """The lens and the sweep of one shard."""
    lens = logit_lens(asked.chain, sequences, positions="last")
    patched = patch(asked.chain, sequences, interaction=False)
    return lens[["entropy"]].rename(entropy="lens_entropy").merge(patched[["entropy", "attractor_log_odds"]])


def seconds(engine: Engine, shards: list[Shard], folder: Path, lose: Any = None) -> tuple[float, dict[str, xr.Dataset]]:
    """How long shards take, and what they hold; `lose` is called when a third of them is done."""
    parts, made, begun = Parts(str(folder)), {}, time.perf_counter()
    for name, content in engine.run(measure, shards, parts):
        made[name] = content
        if lose is not None and len(made) == len(shards) // 3:
            threading.Thread(target=lose).start()
    took = time.perf_counter() - begun
    found = {name: parts.read(name, content) for name, content in made.items()}
    return took, {name: part for name, part in found.items() if part is not None}


def main() -> None:
    """Time, kill, compare, and write what was found."""
    import ray
    from ray.cluster_utils import Cluster

    from mcinterp.engines.ray import RayEngine

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", default=f"1,{os.cpu_count()}", metavar="N,N", help="(default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="(default: 3)")
    parser.add_argument("--shard-size", type=int, default=8, metavar="N", help="prompts a shard (default: 8)")
    parser.add_argument("--out", type=Path, default=Path("runs/bench_ray.json"), help="(default: %(default)s)")
    asked = parser.parse_args()
    counts = [int(number) for number in asked.workers.split(",")]
    torch.set_num_threads(1)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(max(counts))]
    ray.init(address=cluster.address, log_to_driver=False)
    here = ask(QUESTION)
    sequences = as_sequences(here.chain, here.rendered)
    bounds = bounds_of(len(sequences), asked.shard_size)
    shards = [Shard(f"both-{number:04d}", part_of(sequences, *ends)) for number, ends in enumerate(bounds)]
    with tempfile.TemporaryDirectory() as root:
        alone, expected = seconds(LocalEngine(here), shards, Path(root) / "alone")
        times: dict[int, list[float]] = {count: [] for count in counts}
        equal = True
        for number in range(asked.rounds):
            for count in counts:
                engine = RayEngine(Place("ray", workers=count), partial(ask, QUESTION), 0)
                seconds(engine, shards[:count], Path(root) / f"warm-{number}-{count}")
                took, found = seconds(engine, shards, Path(root) / f"{number}-{count}")
                times[count].append(took)
                equal &= same(found, expected)
                for worker in engine.workers:
                    ray.kill(worker)
        engine = RayEngine(Place("ray", workers=max(counts)), partial(ask, QUESTION), 0)
        seconds(engine, shards[: max(counts)], Path(root) / "warm-lost")
        lose = partial(cluster.remove_node, nodes[0], allow_graceful=False)
        lost, found = seconds(engine, shards, Path(root) / "lost", lose)
        equal_lost = same(found, expected)
    medians = {count: statistics.median(each) for count, each in times.items()}
    record = {
        **about(), "cores": os.cpu_count(),
        "shards": len(shards), "prompts_a_shard": asked.shard_size, "rounds": asked.rounds,
        "seconds_in_one_process": alone,
        "seconds": times, "times_faster": {count: medians[counts[0]] / medians[count] for count in counts},
        "all_shards_equal": equal, "with_a_node_killed": {"seconds": lost, "all_shards_equal": equal_lost},
    }  # fmt: skip
    write(asked.out, record)
    print({name: record[name] for name in ("times_faster", "all_shards_equal", "with_a_node_killed")})
    ray.shutdown()
    cluster.shutdown()


def same(found: dict[str, xr.Dataset], expected: dict[str, xr.Dataset]) -> bool:
    """Whether all shards are there, with the same numbers bit for bit."""
    return set(found) == set(expected) and all(found[name].equals(part) for name, part in expected.items())


if __name__ == "__main__":
    main()
