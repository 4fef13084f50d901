"""Batches are halved when memory runs out, and the numbers stay."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch

import mcinterp
from mcinterp import budget
from mcinterp.budget import BUDGET, bytes_on, halving
from mcinterp.chain import Chain
from mcinterp.errors import InputError
from mcinterp.passes import Inputs, recorded
from mcinterp.sequences import Sequences

TEXTS = ["Are bugs real?", "yes or no", "a: 1, b: 2, c:", "Pick a number", "no", "once upon a time"]


@pytest.fixture(autouse=True)
def whole_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BUDGET, "share", 1.0)


@contextmanager
def small_memory(chain: Chain, most: int) -> Iterator[list[int]]:
    """As on a device whose memory holds the MLP activations of `most` tokens; gives the sizes that were asked for."""
    asked: list[int] = []

    def refuse(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        asked.append(inputs[0].shape[:-1].numel())
        if asked[-1] > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    modules = [stage.bridge.blocks[1].mlp.original_component for stage in chain.stages]
    handles = [module.register_forward_pre_hook(refuse) for module in modules]
    try:
        yield asked
    finally:
        for handle in handles:
            handle.remove()


def sequences(chain: Chain) -> Sequences:
    return mcinterp.teacher_force(chain, chain.render(mcinterp.Prompts.from_texts(TEXTS)), mcinterp.Decoding(3))


@pytest.mark.parametrize(
    "analysis",
    [
        mcinterp.logit_lens, mcinterp.graft_sweep, mcinterp.update_attribution, mcinterp.direct_logit_attribution,
        mcinterp.entropy_split, mcinterp.attribution_patching, mcinterp.temperature_split,
    ],
)  # fmt: skip
def test_an_analysis_goes_on_with_smaller_batches(
    pair: Chain, analysis: Callable, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("mcinterp.capture.MOST_TOKENS", 128)
    monkeypatch.setattr("mcinterp.weights.scalar.MOST_TOKENS", 128)
    given = sequences(pair)
    whole = analysis(pair, given)
    with small_memory(pair, 40) as asked, caplog.at_level(logging.WARNING):
        split = analysis(pair, given)
    assert max(asked) > 40, "nothing ran out"
    assert asked[-1] <= 40
    assert 0 < BUDGET.share < 1
    assert "batches are" in caplog.text
    for name in whole.data_vars:
        if whole[name].dtype.kind == "f":
            np.testing.assert_allclose(split[name], whole[name], atol=2e-5, rtol=1e-4, err_msg=str(name))


def test_a_sweep_goes_on_with_smaller_calls(pair: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcinterp.intervene.stage_run.CALL_BYTES", 2**15)
    prompts = mcinterp.Prompts.from_texts(TEXTS)
    whole = mcinterp.patch(pair, prompts)
    with small_memory(pair, 64) as asked:
        split = mcinterp.patch(pair, prompts)
    assert max(asked) > 64
    np.testing.assert_allclose(split["entropy"], whole["entropy"], atol=1e-5)


def test_completions_go_on_with_smaller_batches(pair: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcinterp.completions.CACHE_BYTES", 2**18)
    whole = sequences(pair)
    with small_memory(pair, 50) as asked:
        split = sequences(pair)
    assert max(asked) > 50
    assert split.completions == whole.completions


def test_memory_that_never_suffices_is_said(pair: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "LEAST_SHARE", 2.0**-3)
    with small_memory(pair, 0), pytest.raises(InputError, match="smallest batches"):
        mcinterp.logit_lens(pair, sequences(pair))


def test_other_errors_are_not_retried() -> None:
    calls = []

    @halving
    def broken() -> None:
        calls.append(1)
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        broken()
    assert len(calls) == 1
    assert BUDGET.share == 1


def test_a_gpu_with_room_gets_larger_batches(pair: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = pair.base
    assert bytes_on(stage, 2**20) == 2**20

    class OnDevice:
        device = "cuda:0"

        class hold:
            spare = 70 * 10**9

    assert bytes_on(OnDevice(), 2**20) == 2**33
    monkeypatch.setattr(BUDGET, "share", 0.25)
    assert bytes_on(OnDevice(), 2**20) == 2**31
    assert budget.allowed(1) == 1


def test_memory_that_runs_out_while_calls_are_recorded_is_no_fault_of_the_architecture(pair: Chain) -> None:
    stage, embedding = pair.base, pair.base.bridge.embed.original_component

    def refuse(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    tokens = torch.tensor([[3, 4, 5]])
    handle = embedding.register_forward_pre_hook(refuse)
    try:
        with pytest.raises(torch.OutOfMemoryError):
            recorded(stage, Inputs(tokens, torch.ones_like(tokens)))
    finally:
        handle.remove()
