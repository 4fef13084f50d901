"""Weight tensors by name, and their exchange for a while."""

import pytest
import torch

from conftest import SHAPES, Build
from mcinterp.chain import Chain, load_pair
from mcinterp.weights.tensors import changed_tensors, installed, slots_of

TOKENS = torch.tensor([[2, 3, 4, 5, 6, 7]])


@pytest.fixture
def gpt2(tiny: Build) -> Chain:
    """A pair with tied embeddings and a fused query, key and value matrix."""
    return load_pair(str(tiny("gpt2")), str(tiny("gpt2", "tuned")))


def test_names_are_those_of_the_components(pair: Chain) -> None:
    names = list(slots_of(pair.base))
    assert names[0] == "embed.weight"
    assert names[-2:] == ["ln_final.weight", "unembed.weight"]
    for role in ("ln1", "attn.q", "attn.k", "attn.v", "attn.o", "ln2", "mlp.gate", "mlp.in", "mlp.out"):
        assert f"blocks.1.{role}.weight" in names
    assert len(names) == 3 + 3 * 9


@pytest.mark.parametrize("architecture", SHAPES)
def test_every_weight_of_a_forward_pass_is_named(tiny: Build, architecture: str) -> None:
    stage = load_pair(str(tiny(architecture)), str(tiny(architecture, "tuned"))).base
    zeros = {name: torch.zeros_like(slot.tensor) for name, slot in slots_of(stage).items()}
    with torch.inference_mode(), installed(stage, zeros):
        assert stage.bridge(TOKENS).abs().max() == 0


def test_the_very_same_parameters_are_back_after_an_error(pair: Chain) -> None:
    slots = slots_of(pair.base)
    before = {name: slot.holder._parameters[slot.attribute] for name, slot in slots.items()}
    bits = {name: slot.tensor.clone() for name, slot in slots.items()}
    with (
        pytest.raises(KeyError),
        installed(pair.base, {n: t + 1 for n, t in bits.items()} | {"nothing": torch.ones(1)}),
    ):
        pass
    with pytest.raises(ZeroDivisionError), installed(pair.base, {"unembed.weight": torch.ones(85, 24)}):
        raise ZeroDivisionError
    for name, slot in slots.items():
        assert slot.holder._parameters[slot.attribute] is before[name]
        assert torch.equal(slot.tensor, bits[name])


def test_a_shared_tensor_is_exchanged_in_one_place_alone(gpt2: Chain) -> None:
    stage, slots = gpt2.base, slots_of(gpt2.base)
    assert slots["embed.weight"].tensor.data_ptr() == slots["unembed.weight"].tensor.data_ptr()
    with torch.inference_mode():
        clean, kept = stage.bridge.run_with_cache(TOKENS, names_filter=["hook_embed"])
        with installed(stage, {"unembed.weight": 2 * slots["unembed.weight"].tensor}):
            doubled, again = stage.bridge.run_with_cache(TOKENS, names_filter=["hook_embed"])
    torch.testing.assert_close(doubled, 2 * clean)
    assert torch.equal(kept["hook_embed"], again["hook_embed"])


def test_a_fused_matrix_is_named_by_its_parts_alone(gpt2: Chain) -> None:
    roles = {slot.role for slot in slots_of(gpt2.base).values()}
    assert {"attn.q", "attn.k", "attn.v", "attn.o"} <= roles
    assert "attn.qkv" not in roles


def test_equal_checkpoints_have_no_changed_tensor(identical: Chain, pair: Chain) -> None:
    assert changed_tensors(*identical.stages) == []
    assert changed_tensors(*pair.stages) == list(slots_of(pair.base))
