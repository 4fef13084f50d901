"""Attractors across prompts: a planted one is found and confirmed, nothing is found where nothing is."""

import numpy as np
import pytest
import torch

from mcinterp.attractors import Search, find_attractors, halves, has_common_extension
from mcinterp.chain import Chain
from mcinterp.prompts import Prompts, RenderedPrompts

TEXTS = [f"{word} {n}" for word in ("ab", "cd", "ef", "gh", "ij", "kl") for n in range(3)]


def rendered(chain: Chain) -> RenderedPrompts:
    """Six templates of three prompts."""
    return chain.render(Prompts.from_texts(TEXTS, template=[text[:2] for text in TEXTS]))


@pytest.fixture
def planted(pair: Chain):
    """The tiny pair with a strong pull of the tuned stage towards one token, taken away afterwards."""
    bias = pair.tuned.bridge.unembed.original_component.bias
    bias[20] += 25.0
    object.__setattr__(pair.tuned.readout, "bias", bias)
    yield pair
    bias[20] -= 25.0
    object.__setattr__(pair.tuned.readout, "bias", None)


def test_halves_never_share_a_template() -> None:
    discovery, held_out = halves([text[:2] for text in TEXTS], seed=0)
    assert sorted(discovery + held_out) == list(range(18))
    assert not {TEXTS[i][:2] for i in discovery} & {TEXTS[i][:2] for i in held_out}
    assert len(discovery) == len(held_out) == 9


def test_a_planted_token_is_found_on_one_half_and_confirmed_on_the_other(planted: Chain) -> None:
    found = find_attractors(planted, rendered(planted), Search(depth=4))
    best = found.isel(candidate=0)
    letter = planted.tuned.tokenizer.decode([20])
    assert str(best["continuation"].item()) == letter * 4
    assert bool(best["confirmed"])
    assert float(best["probability"].isel(stage=-1)) > 0.9
    assert float(best["probability"].isel(stage=0)) < 0.1
    assert float(best["share_captured"]) == 1.0


def test_an_identical_pair_has_no_attractor(identical: Chain) -> None:
    found = find_attractors(identical, rendered(identical))
    np.testing.assert_array_equal(found["difference"], 0.0)
    assert not found["confirmed"].any()


def test_one_template_leaves_nothing_to_confirm_with(pair: Chain) -> None:
    prompts = pair.render(Prompts.from_texts(TEXTS[:4], template=["same"] * 4))
    found = find_attractors(pair, prompts)
    assert found.sizes["candidate"] == 0
    assert found.attrs["n_held_out"] == 0


def test_a_prefix_gives_way_to_a_nearly_as_common_extension() -> None:
    counts = {(1,): 10, (1, 2): 9, (3,): 10, (3, 4): 5}
    assert has_common_extension((1,), counts)
    assert not has_common_extension((3,), counts)


def test_probabilities_are_probabilities(pair: Chain) -> None:
    found = find_attractors(pair, rendered(pair), Search(samples=3, min_share=0.02))
    values = found["probability"].values
    assert torch.isfinite(torch.from_numpy(values)).all()
    assert ((values >= 0) & (values <= 1)).all()
