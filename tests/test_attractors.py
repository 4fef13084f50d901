"""Attractors across prompts: a planted one is found and confirmed, nothing is found where nothing is."""

import pytest

from mcinterp.attractors import (
    Search,
    distinct,
    find_attractors,
    giving_way,
    halves,
    holds,
    openings,
    phrase_shares,
    phrases,
    prompts_with,
)
from mcinterp.chain import Chain
from mcinterp.prompts import Prompts
from mcinterp.rendering import RenderedPrompts
from mcinterp.scoring import continuation_log_probs

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
    found = find_attractors(planted, rendered(planted), Search(depth=4, length=10))
    letter = planted.tuned.tokenizer.decode([20])
    for kind in ("opening", "phrase"):
        best = found.isel(candidate=found["kind"].values == kind).isel(candidate=0)
        assert str(best["text"].item()) == letter * 4
        assert best["confirmed"].values.tolist() == [0, 1]
        assert float(best["probability"].isel(stage=1)) > 0.9
        assert float(best["probability"].isel(stage=0)) < 0.1
        assert best["share_captured"].values.tolist() == [0.0, 1.0]
        assert float(best["difference"].isel(stage=0)) == 0.0


def test_opening_probabilities_are_exact(planted: Chain) -> None:
    prompts = rendered(planted)
    found = find_attractors(planted, prompts, Search(depth=2, length=5))
    best = found.isel(candidate=found["kind"].values == "opening").isel(candidate=0)
    _, held_out = halves(prompts.templates, 0)
    scores = continuation_log_probs(planted.tuned, [prompts.token_ids[i] for i in held_out], [(20, 20)] * len(held_out))
    assert float(best["probability"].isel(stage=1)) == pytest.approx(float(scores.exp().mean()), abs=1e-5)


def test_an_identical_pair_has_no_attractor(identical: Chain) -> None:
    found = find_attractors(identical, rendered(identical))
    assert found.sizes["candidate"] == 0


def test_one_template_leaves_nothing_to_confirm_with(pair: Chain) -> None:
    prompts = pair.render(Prompts.from_texts(TEXTS[:4], template=["same"] * 4))
    found = find_attractors(pair, prompts, Search(length=4))
    assert found.sizes["candidate"] == 0
    assert found.attrs["n_held_out"] == 0


def test_pieces_of_a_text() -> None:
    assert list(openings((1, 2, 3), 2)) == [(1,), (1, 2)]
    assert list(phrases((1, 2, 3), 2)) == [(1,), (2,), (3,), (1, 2), (2, 3)]
    assert prompts_with([[(1, 2), (1, 3)], [(3, 1)]], phrases, 1) == {(1,): 2, (2,): 1, (3,): 2}
    assert holds((1, 2, 3, 4), (2, 3))
    assert not holds((1, 2, 3, 4), (3, 2))
    assert phrase_shares([[(1, 2), (3,)], [(2, 1)]], (2,)) == [0.5, 1.0]


def test_a_piece_gives_way_to_a_nearly_as_common_longer_one() -> None:
    gains = {(1,): 10, (1, 2): 9, (3,): 10, (3, 4): 5, (0, 5): 4, (5,): 4}
    assert (1,) in giving_way(gains)
    assert (5,) in giving_way(gains)
    assert (3,) not in giving_way(gains)


def test_windows_of_one_long_text_count_once() -> None:
    windows = [(1, 2, 3, 4), (2, 3, 4, 5), (3, 4, 5, 6), (7, 8), (4, 5, 6, 7)]
    assert list(distinct(windows)) == [(1, 2, 3, 4), (7, 8), (4, 5, 6, 7)]


def test_probabilities_are_probabilities_for_every_later_stage(chain: Chain) -> None:
    found = find_attractors(chain, rendered(chain), Search(samples=3, length=6, min_share=0.02))
    assert found.sizes["stage"] == 3
    assert found.sizes["candidate"] > 0
    values = found["probability"].values
    assert ((values >= 0) & (values <= 1)).all()
    low, high = found["probability_low"].values, found["probability_high"].values
    assert ((low <= values) & (values <= high)).all()
