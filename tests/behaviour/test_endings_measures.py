"""Outcomes of texts, places, and the measures of outcomes: known values and plain enumerations."""

from itertools import product

import numpy as np
import pytest

from mcinterp.behaviour.endings.measures import collision, entropy, information, rare_seen, shares, vanished
from mcinterp.behaviour.endings.outcomes import OTHER, UNFINISHED, outcome_of, outcomes_of
from mcinterp.behaviour.endings.places import Branched, breaks, places
from mcinterp.errors import InputError
from mcinterp.prompts import Prompt, Prompts


def asked(outcomes: object) -> Prompts:
    return Prompts((Prompt("a", metadata={"outcomes": outcomes}),))


def test_the_last_outcome_counts_whole_words_whatever_their_case() -> None:
    (wanted,) = outcomes_of(asked({"leaves": ["anon leaves", r"re:\bwalks? (?:out|off)\b"], "runs": ["run"]}))
    assert wanted.names == ("leaves", "runs")
    assert outcome_of("run, run\n>Anon Leaves", wanted, ended=True) == 0
    assert outcome_of("anon leaves. Run!", wanted, ended=True) == 1
    assert outcome_of("he walks off", wanted, ended=False) == 0
    assert outcome_of("prune and running", wanted, ended=True) == OTHER
    assert outcome_of("prune and running", wanted, ended=False) == UNFINISHED


def test_of_outcomes_that_end_together_the_longer_counts() -> None:
    (wanted,) = outcomes_of(asked(["party", "a wedding party"]))
    assert outcome_of("It was a wedding party", wanted, ended=True) == 1
    assert outcome_of("It was a party", wanted, ended=True) == 0


@pytest.mark.parametrize("wrong", [None, "a", ["a"], ["a", ""], ["a", "A "], {"x": ["a"], "y": []}, {"x": ["a", "b"]}])
def test_outcomes_that_cannot_be_used_are_refused(wrong: object) -> None:
    with pytest.raises(InputError, match="give two or more"):
        outcomes_of(asked(wrong))


def test_a_broken_expression_is_refused() -> None:
    with pytest.raises(InputError, match="valid regular expressions"):
        outcomes_of(asked(["re:(", "b"]))


def test_stories_are_branched_behind_sentences_and_lines() -> None:
    tokens = ["\n", ">", "stay", " calm", "\n>", "run", ".", "\n", "The", " end", ".", " "]
    assert breaks(tokens) == [5, 7, 11]
    assert places(tokens, [0, 1, 2, 4]) == [0, 5, 7, 12]
    assert places(tokens, [0, 1, 3, 20], "token") == [0, 1, 3, 12]
    assert breaks([]) == []


def test_places_do_not_depend_on_what_stands_behind_them() -> None:
    pieces = ["a", ".", "\n", "\nb", "b\n", " ", "?"]
    for tokens in product(pieces, repeat=4):
        for cut in range(5):
            assert breaks(tokens[:cut]) == [place for place in breaks(tokens) if place <= cut]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"samples": 1}, "samples=1"),
        ({"kept": (1, 2)}, "kept"),
        ({"nodes": -1}, "nodes=-1"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(wrong: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Branched(**wrong)


def test_entropy_and_collision_of_known_counts() -> None:
    counts = np.array([[4.0, 4.0, 0.0], [8.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    np.testing.assert_allclose(entropy(counts), [np.log(2) + 1 / 16, 0.0, np.nan])
    np.testing.assert_allclose(collision(counts), [(4 * 3 * 2) / (8 * 7), 1.0, np.nan])
    exact = np.array([True, True, True])
    np.testing.assert_allclose(entropy(counts / 8, exact), [np.log(2), 0.0, np.nan])
    np.testing.assert_allclose(collision(counts / 8, exact), [0.5, 1.0, np.nan])


def test_collision_is_without_bias() -> None:
    p = np.array([0.5, 0.3, 0.2])
    draws = np.random.default_rng(0).multinomial(3, p, size=40000).astype(float)
    assert collision(draws).mean() == pytest.approx((p**2).sum(), abs=0.01)


def test_the_mean_information_is_the_mutual_information() -> None:
    joint = np.array([[0.20, 0.05, 0.05], [0.05, 0.30, 0.05], [0.10, 0.10, 0.10]])
    prefix, outcome = joint.sum(axis=1), joint.sum(axis=0)
    expected = (joint * np.log(joint / np.outer(prefix, outcome))).sum()
    known = np.array([True, True])
    found = [information(entropy(np.stack([outcome, row]), known))[1] for row in shares(joint)]
    assert prefix @ np.array(found) == pytest.approx(expected)


def test_a_beginning_that_says_nothing_has_no_information_in_the_mean() -> None:
    draws = np.random.default_rng(1).multinomial(5, [0.4, 0.3, 0.2, 0.1], size=(20000, 2)).astype(float)
    assert information(entropy(draws))[:, 1].mean() == pytest.approx(0.0, abs=0.01)


def test_a_stage_that_equals_the_base_keeps_its_rare_outcomes() -> None:
    random = np.random.default_rng(2)
    p = np.array([0.6, 0.3, 0.06, 0.04])
    base, same, gone = (random.multinomial(10, q, size=3000) / 10 for q in (p, p, np.array([0.7, 0.3, 0.0, 0.0])))
    kept = rare_seen(np.stack([base, same, gone]), base).mean(axis=1)
    expected = sum(1 - (1 - q) ** 10 for q in (0.06, 0.04))
    np.testing.assert_allclose(kept, [expected, expected, 0.0], atol=0.04)
    assert np.isnan(rare_seen(base[None, :1], base[:1])).all()


def test_outcomes_vanish_only_beyond_chance() -> None:
    base, stage = np.array([50.0, 40.0, 9.0, 1.0, 0.0]), np.array([100.0, 0.0, 0.0, 0.0, 0.0])
    assert vanished(base, stage).tolist() == [False, True, True, False, False]
    assert not vanished(base, base).any()
    assert not vanished(base, stage / 100).any()
