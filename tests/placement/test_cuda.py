"""On a CUDA GPU: the numbers of the CPU, the same bits however weights are held, and memory that really runs out."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

import mcinterp
from conftest import Build
from mcinterp.budget import BUDGET
from mcinterp.chain import Chain, load_pair
from mcinterp.placement.determinism import deterministic

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")

POCKET = ("pocket:base", "pocket:sft")
TEXTS = ["User: Are bugs real?\nAssistant:", "User: Pick a number.\nAssistant:", "Once upon a time", "yes or no"]
PROMPTS = mcinterp.Prompts.from_texts(TEXTS)


@pytest.fixture(scope="module")
def there() -> Chain:
    return load_pair(*POCKET, device="cuda", dtype="float32")


@pytest.fixture(scope="module")
def here() -> Chain:
    return load_pair(*POCKET)


def lens(chain: Chain) -> xr.Dataset:
    return mcinterp.logit_lens(chain, mcinterp.teacher_force(chain, chain.render(PROMPTS), mcinterp.Decoding(6)))


def assert_close(one: xr.Dataset, other: xr.Dataset, names: list[str], atol: float = 2e-3) -> None:
    for name in names:
        np.testing.assert_allclose(one[name].values, other[name].values, atol=atol, rtol=1e-3, err_msg=name)


def assert_same(one: xr.Dataset, other: xr.Dataset) -> None:
    for name in one.variables:
        assert np.array_equal(one[name].values, other[name].values, equal_nan=one[name].dtype.kind == "f"), name


def assert_all_close(one: xr.Dataset, other: xr.Dataset) -> None:
    assert_close(one, other, [name for name in one.data_vars if one[name].dtype.kind == "f"], atol=1e-5)


def test_completions_and_lens_are_those_of_the_cpu(there: Chain, here: Chain) -> None:
    one, other = lens(there), lens(here)
    assert there.base.device.startswith("cuda")
    assert one["token"].values.tolist() == other["token"].values.tolist()
    assert_close(one, other, ["entropy", "attractor_log_odds"])


def test_patches_grafts_and_attributions_are_those_of_the_cpu(there: Chain, here: Chain) -> None:
    one, other = (mcinterp.patch(chain, PROMPTS) for chain in (there, here))
    assert_close(one, other, ["entropy", "attractor_log_odds"])
    one, other = (mcinterp.graft_sweep(chain, PROMPTS) for chain in (there, here))
    assert_close(one, other, ["entropy"])
    one, other = (mcinterp.update_attribution(chain, PROMPTS) for chain in (there, here))
    assert_close(one, other, ["attribution"])
    one, other = (mcinterp.direct_logit_attribution(chain, PROMPTS) for chain in (there, here))
    assert_close(one, other, ["attribution"])


def test_the_verdict_is_that_of_the_cpu(there: Chain, here: Chain) -> None:
    one, other = (mcinterp.locate(chain, PROMPTS, verification=False) for chain in (there, here))
    assert one.said.split(":")[0] == other.said.split(":")[0]


@pytest.mark.parametrize("placement", ["one", "stream"])
@pytest.mark.parametrize("architecture", ["llama", "gemma2", "mixtral", "gpt2"])
def test_the_same_bits_however_weights_are_held(tiny: Build, architecture: str, placement: str) -> None:
    same = assert_same if architecture != "mixtral" else assert_all_close  # experts are summed in any order
    names = (str(tiny(architecture)), str(tiny(architecture, "tuned")))
    prompts = mcinterp.Prompts.from_texts(["Are bugs real?", "yes or no", "a: 1, b: 2, c:", "Pick a number"])
    for dtype in ("float32", "bfloat16"):
        whole, apart = (
            load_pair(*names, device="cuda", dtype=dtype, placement=held) for held in ("together", placement)
        )
        with deterministic():
            completed = mcinterp.teacher_force(whole, whole.render(prompts), mcinterp.Decoding(4))
            same(mcinterp.logit_lens(whole, completed), mcinterp.logit_lens(apart, completed))
            same(mcinterp.patch(whole, prompts), mcinterp.patch(apart, prompts))


def test_bfloat16_stays_near_float32(there: Chain) -> None:
    rough = mcinterp.patch(load_pair(*POCKET, device="cuda", dtype="bfloat16"), PROMPTS, controls=False)
    exact = mcinterp.patch(there, PROMPTS, controls=False)
    assert float(np.abs(rough["entropy"] - exact["entropy"]).mean()) < 0.05


def test_a_stage_on_each_device(here: Chain) -> None:
    mixed = load_pair(*POCKET, device=["cpu", "cuda"], dtype="float32")
    assert_close(mcinterp.patch(mixed, PROMPTS), mcinterp.patch(here, PROMPTS), ["entropy"])
    assert_close(lens(mixed), lens(here), ["entropy", "attractor_log_odds"])


def test_device_maps_onto_gpus(tiny: Build, tmp_path: Path) -> None:
    names = (str(tiny("llama")), str(tiny("llama", "tuned")))
    (tmp_path / "map.json").write_text(json.dumps({"": 0}))
    prompts = mcinterp.Prompts.from_texts(["Are bugs real?", "yes or no"])
    whole = mcinterp.patch(load_pair(*names), prompts)
    for device in ("auto", str(tmp_path / "map.json")):
        spread = mcinterp.patch(load_pair(*names, device=device, dtype="float32"), prompts)
        assert_close(spread, whole, ["entropy"])


def test_memory_that_really_runs_out_halves_the_batches(there: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = mcinterp.Prompts.from_texts([f"User: Are bugs {number} real?\nAssistant:" for number in range(512)])
    monkeypatch.setattr(BUDGET, "share", 1.0)
    usual = mcinterp.patch(there, prompts, controls=False, interaction=False)
    torch.cuda.synchronize()
    peak, held = torch.cuda.max_memory_allocated(), torch.cuda.memory_allocated()
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((held + (peak - held) * 0.6 + 2**24) / total)
    try:
        short = mcinterp.patch(there, prompts, controls=False, interaction=False)
        assert BUDGET.share < 1
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert_close(short, usual, ["entropy"])


def test_deterministic_runs_are_equal(there: Chain) -> None:
    with deterministic():
        assert_same(mcinterp.patch(there, PROMPTS), mcinterp.patch(there, PROMPTS))
        assert_same(mcinterp.update_attribution(there, PROMPTS), mcinterp.update_attribution(there, PROMPTS))


def test_held_patches_write_what_the_cpu_writes(there: Chain, here: Chain) -> None:
    one, other = (
        mcinterp.generate_patched(chain, PROMPTS, sites=["resid_post"], layers=4, decoding=mcinterp.Decoding(8))
        for chain in (there, here)
    )
    assert one["completion"].values.tolist() == other["completion"].values.tolist()
