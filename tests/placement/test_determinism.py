"""Deterministic mode is held for as long as it is asked for."""

import numpy as np
import pytest
import torch

import mcinterp
from mcinterp.chain import Chain
from mcinterp.placement.determinism import deterministic


def test_the_mode_is_held_and_given_back() -> None:
    torch.set_float32_matmul_precision("high")
    try:
        with deterministic():
            assert torch.are_deterministic_algorithms_enabled()
            assert torch.get_float32_matmul_precision() == "highest"
        assert not torch.are_deterministic_algorithms_enabled()
        assert torch.get_float32_matmul_precision() == "high"
        with deterministic(False):
            assert not torch.are_deterministic_algorithms_enabled()
        with pytest.raises(KeyError), deterministic():
            raise KeyError
        assert not torch.are_deterministic_algorithms_enabled()
    finally:
        torch.set_float32_matmul_precision("highest")


def test_analyses_run_in_it_with_the_same_numbers(pair: Chain, recwarn: pytest.WarningsRecorder) -> None:
    prompts = mcinterp.Prompts.from_texts(["Are bugs real?", "yes or no"])
    plain = [mcinterp.patch(pair, prompts), mcinterp.graft_sweep(pair, prompts)]
    with deterministic():
        held = [mcinterp.patch(pair, prompts), mcinterp.graft_sweep(pair, prompts)]
    for one, other in zip(plain, held, strict=True):
        assert np.array_equal(one["entropy"], other["entropy"])
    assert not [w for w in recwarn if "deterministic" in str(w.message)]
