"""What placements promise of memory, measured in fresh processes; and the benchmark's other verbs at a tiny size."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXPERIMENTS = ROOT / "experiments"
sys.path.insert(0, str(EXPERIMENTS))

from bench.processes import surroundings  # noqa: E402
from bench.scale.files import write_pair  # noqa: E402
from bench.scale.memory import NO_RESERVE  # noqa: E402
from bench.scale.shapes import Shape  # noqa: E402

WIDE = Shape("wide", 1, 768, 12, 4, 3072, 1536)
DEPTHS = (4, 12)
LAYER = 4 * WIDE.layer_weights
OUTSIDE = 4 * WIDE.outside_weights
ALLOWED = 6 * LAYER

Folder = Path


def measure(pair: Folder, placement: str, *, limit: int | None = None, settled: bool = False) -> dict[str, Any]:
    """One lens; settled, allocators map and return these tensors one by one, as they do by themselves from 32 MB on."""
    request = {"pair": [str(pair / "base"), str(pair / "tuned")], "placement": placement, "limit": limit}
    request |= {"analysis": "logit_lens", "prompts": 2}
    command = [sys.executable, "-m", "bench.scale.measuring", json.dumps(request)]
    env = surroundings(1) | (NO_RESERVE if settled or limit is not None else {})
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def bench(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXPERIMENTS / "bench_scale.py"), *words]
    return subprocess.run(command, env=surroundings(1), capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Folder]:
    """Pairs of two depths with layers of one size, stored in half precision and held in full."""
    folders = {depth: tmp_path_factory.mktemp(f"layers{depth}") for depth in DEPTHS}
    for depth, folder in folders.items():
        write_pair(folder, WIDE.deep(depth), "bfloat16")
    return folders


@pytest.mark.slow
def test_memory_grows_with_the_layers_that_are_held_and_not_with_depth(pairs: dict[int, Folder]) -> None:
    found = {p: [measure(pairs[depth], p) for depth in DEPTHS] for p in ("together", "one", "stream")}
    growth = {p: runs[1]["peak_anonymous"] - runs[0]["peak_anonymous"] for p, runs in found.items()}
    more = DEPTHS[1] - DEPTHS[0]
    assert abs(growth["together"] - 2 * more * LAYER) < 2 * LAYER, growth
    assert abs(growth["one"] - more * LAYER) < 2 * LAYER, growth
    assert found["stream"][1]["peak_anonymous"] < 2 * OUTSIDE + 6 * LAYER
    shallow, deep = (measure(pairs[depth], "stream", settled=True)["peak_anonymous"] for depth in DEPTHS)
    assert abs(deep - shallow) < LAYER, (shallow, deep)
    assert deep < 2 * OUTSIDE + 4 * LAYER, deep
    for run in (runs[1] for runs in found.values()):
        assert run["digest"] == found["together"][1]["digest"]


@pytest.mark.slow
def test_a_limit_far_below_the_weights_gives_the_same_numbers(pairs: dict[int, Folder]) -> None:
    deep = pairs[DEPTHS[1]]
    free = measure(deep, "together")
    limit = measure(deep, "stream", limit=2**40)["before_data"] + ALLOWED
    assert 2 * 4 * WIDE.deep(DEPTHS[1]).weights > 3 * ALLOWED
    refused = measure(deep, "together", limit=limit)
    assert any(sign in refused["error"] for sign in ("alloc", "mmap", "start new thread")), refused
    assert measure(deep, "stream", limit=limit)["digest"] == free["digest"]


@pytest.mark.slow
def test_streamed_layers_that_repeat_files_give_the_numbers_of_weights_in_memory(tmp_path: Path) -> None:
    out = tmp_path / "stream.json"
    done = bench("stream", "--shape", "tiny", "--device", "cpu", "--prompts", "2", "--tokens", "16", "--out", str(out))
    assert done.returncode == 0, done.stderr
    record = json.loads(out.read_text())
    assert "3 files" in record["layers_from"]
    assert record["layers_from"] in done.stdout
    assert record["distinct_layers"] == 3
    assert [row["equal_to_together"] for row in record["analyses"].values()] == [True, True]
    assert [row["reads_a_layer"] for row in record["analyses"].values()] == [[1, 1], [2, 2]]


@pytest.mark.slow
def test_a_sweep_is_measured_beside_the_machines_ceilings(tmp_path: Path) -> None:
    out = tmp_path / "sweep.json"
    words = ("--shape", "tiny", "--device", "cpu", "--dtype", "float32", "--prompts", "2", "--tokens", "16")
    done = bench("sweep", *words, "--rounds", "1", "--out", str(out))
    assert done.returncode == 0, done.stderr
    record = json.loads(out.read_text())
    assert "needs a GPU" in done.stdout
    assert record["engine"] == "fast"
    assert record["verified_difference"] < 1e-4
    assert record["token_layers_needed"] <= record["token_layers"] < record["token_layers_plain"]
    assert 0 < record["share_of_products"] < 1


@pytest.mark.parametrize("verb", ["sweep", "stream"])
@pytest.mark.slow
def test_a_missing_gpu_is_said_in_a_sentence(verb: str) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    done = bench(verb)
    assert done.returncode == 2
    assert done.stderr.strip().endswith("--shape tiny --device cpu.")
    assert "needs a CUDA GPU" in done.stderr
    assert "Traceback" not in done.stderr
