"""Shards on a Ray cluster give what they give in one process, also where a node dies, and errors come through."""

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import xarray as xr

from conftest import Build
from mcinterp.completions import Decoding
from mcinterp.engines.interface import Place, Shard
from mcinterp.errors import InputError
from mcinterp.jobs.comparison import CompareQuestion, compare
from mcinterp.prompts import Prompts
from mcinterp.run.parts import Parts
from same_runs import assert_same_runs

pytestmark = pytest.mark.slow
ray = pytest.importorskip("ray")
cluster_utils = pytest.importorskip("ray.cluster_utils")
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
PROMPTS = Prompts.from_texts(["Are bugs real?", ">be me\n", "Pick a number:", "one", "One more", "Say it:"])


@pytest.fixture
def cluster() -> Iterator[Any]:
    """Three nodes of one worker each."""
    found = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    for _ in range(3):
        found.add_node(num_cpus=1)
    ray.init(address=found.address, log_to_driver=False)
    yield found
    ray.shutdown()
    found.shutdown()


def slowly(setting: str, sequences: int) -> xr.Dataset:
    """A dataset that takes a second."""
    time.sleep(1)
    return xr.Dataset({"x": ("prompt", [float(sequences)])}, {"prompt": [0]}, {"setting": setting})


def late_at_first(setting: str, shard: tuple[int, str]) -> xr.Dataset:
    """A dataset; the last shard says where it is computed and takes a minute, unless it is tried again."""
    number, mark = shard
    if number == 2 and not Path(mark).exists():
        Path(mark).write_text(ray.get_runtime_context().get_node_id())
        time.sleep(60)
    return slowly(setting, number)


def refused(setting: str, sequences: int) -> xr.Dataset:
    """Nothing: the input is bad."""
    raise InputError(f"shard {sequences} is bad; give another.")


def dying(setting: str, sequences: int) -> xr.Dataset:
    """The end of its process."""
    import os

    os._exit(1)


def setting() -> str:
    """What a worker loads."""
    return "loaded"


def test_a_run_on_a_cluster_that_loses_a_node_is_that_of_one_process(cluster: Any, tiny: Build, tmp_path: Path) -> None:
    stages = (f"base={tiny('llama')}", f"tuned={tiny('llama', 'tuned')}")
    question = CompareQuestion(stages=stages, decoding=Decoding(3), only=("lens", "logits"), shard_size=2)
    compare(question, tmp_path / "local", prompts=PROMPTS)
    node = next(iter(cluster.worker_nodes))

    def say(line: str) -> None:
        if line.startswith("lens: shard 1"):
            cluster.remove_node(node, allow_graceful=False)

    compare(question, tmp_path / "ray", prompts=PROMPTS, place=Place("ray"), say=say)
    assert "lens: shard 3 of 3" in (tmp_path / "ray" / "log.txt").read_text()
    assert_same_runs(tmp_path / "local", tmp_path / "ray")


def test_shards_of_a_dead_node_are_done_elsewhere(cluster: Any, tmp_path: Path) -> None:
    from mcinterp.engines.ray import RayEngine

    engine = RayEngine(Place("ray"), setting, 0)
    shards = [Shard(f"x-{number:04d}", number) for number in range(9)]
    found, parts = {}, Parts(str(tmp_path))
    node = next(iter(cluster.worker_nodes))
    for written in engine.run(slowly, shards, parts):
        found[written.name] = written.made
        if len(found) == 2:
            threading.Thread(target=cluster.remove_node, args=(node,), kwargs={"allow_graceful": False}).start()
    assert set(found) == {shard.name for shard in shards}
    for shard in shards:
        part = parts.read(shard.name, found[shard.name])
        assert part is not None
        assert part["x"].values.tolist() == [float(shard.sequences)]
        assert part.attrs["setting"] == "loaded"


def test_a_shard_that_is_lost_last_is_given_to_a_worker_that_waits(cluster: Any, tmp_path: Path) -> None:
    from mcinterp.engines.ray import RayEngine

    engine, mark = RayEngine(Place("ray"), setting, 0), tmp_path / "mark"
    shards = [Shard(f"x-{number:04d}", (number, str(mark))) for number in range(3)]
    found: list[str] = []
    begun = time.monotonic()
    for written in engine.run(late_at_first, shards, Parts(str(tmp_path / "parts"))):
        found.append(written.name)
        if len(found) == 2:
            (node,) = [node for node in cluster.worker_nodes if node.node_id == mark.read_text()]
            cluster.remove_node(node, allow_graceful=False)
    assert sorted(found) == [shard.name for shard in shards]
    assert time.monotonic() - begun < 59, "the lost shard waited"


def test_bad_input_and_dying_shards_are_one_sentence(cluster: Any, tmp_path: Path) -> None:
    from mcinterp.engines.ray import RayEngine

    engine = RayEngine(Place("ray", attempts=2), setting, 0)
    with pytest.raises(InputError, match="^shard 7 is bad; give another.$"):
        list(engine.run(refused, [Shard("x-0007", 7)], Parts(str(tmp_path))))
    with pytest.raises(InputError, match="shard x-0008 was lost with its worker 2 times .*--resume"):
        list(engine.run(dying, [Shard("x-0008", 8)], Parts(str(tmp_path))))
