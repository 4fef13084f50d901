"""The maths of canned answers: openings that gain, log-odds, and slopes that were planted."""

from functools import partial as bound

import numpy as np
import pytest
from scipy.special import expit, logit

from mcinterp.behaviour.canned.openings import canned_opening, log_odds, shares, without_formatting
from mcinterp.behaviour.canned.regression import (
    Fit,
    association,
    by_word,
    fractional_logit,
    least_squares,
    partial,
    told_apart,
)

WORDS = ["", "There", " is", " no answer", ".", "Yes", ",", "\n", " ", "It"]


def text(tokens: tuple[int, ...]) -> str:
    return "".join(WORDS[token] for token in tokens)


def test_the_opening_that_gains_is_found_up_to_the_end_of_its_sentence() -> None:
    base = [[(5, 6, 2), (9, 2), (1, 2, 3, 4), (5, 4)]] * 2
    tuned = [[(1, 2, 3, 4, 5), (1, 2, 3, 4, 9), (1, 2, 3, 4), (5, 6, 2)]] * 2
    assert canned_opening(base, tuned, text) == ((1, 2, 3, 4), pytest.approx(0.5))
    assert canned_opening(base, base, text) == ((), 0.0)


def test_an_opening_stops_where_its_samples_part() -> None:
    tuned = [[(1, 2, 3), (1, 2, 4), (1, 2, 9), (1, 2, 6)]]
    assert canned_opening([[(5,)]], tuned, text)[0] == (1, 2)


def test_shares_of_beginnings_are_means_over_prompts() -> None:
    found = shares([[(1, 2), (1, 3)], [(1,)]], 2)
    assert found[()] == found[(1,)] == pytest.approx(1.0)
    assert found[(1, 2)] == found[(1, 3)] == pytest.approx(0.25)


def test_white_space_at_the_start_is_formatting() -> None:
    look = WORDS.__getitem__
    assert without_formatting((7, 8, 1, 7), look) == (1, 7)
    assert without_formatting((7, 8), look) == ()


def test_log_odds_are_those_of_known_probabilities_and_finite_at_one() -> None:
    p = np.array([0.001, 0.5, 0.99])
    np.testing.assert_allclose(log_odds(np.log(p)), logit(p), rtol=1e-6)
    assert log_odds(np.array([0.0]))[0] == pytest.approx(np.log(1e6))
    assert log_odds(np.array([-50.0]))[0] == pytest.approx(-50.0)


def planted(slope: float, seed: int = 0) -> dict[str, np.ndarray]:
    """Fifty words in four wordings, each wording with a level of its own in both."""
    random = np.random.default_rng(seed)
    word, wording = (each.ravel() for each in np.meshgrid(np.arange(50), np.arange(4), indexing="ij"))
    of_word, level = random.normal(size=50), np.array([-2.0, 0.0, 1.0, 3.0])
    share = expit(slope * of_word[word] + level[wording])
    length = random.integers(1, 5, size=50)[word].astype(float)
    return {
        "improbability": of_word[word] + 10 * level[wording], "length": length, "outcome": share,
        "word": word, "wording": wording,
    }  # fmt: skip


@pytest.mark.parametrize("slope", [-1.5, 0.0, 0.7])
@pytest.mark.parametrize("fit", [least_squares, fractional_logit])
def test_a_planted_slope_is_recovered_whatever_the_wordings_levels(slope: float, fit: Fit) -> None:
    rows = planted(slope)
    if fit is least_squares:
        rows["outcome"] = logit(rows["outcome"])
    found = association(**rows, fit=fit)
    spread = rows["improbability"][rows["wording"] == 0].std()
    assert found.slope == pytest.approx(slope * spread, rel=0.02, abs=1e-3)
    assert found.slope_given_length == pytest.approx(slope * spread, rel=0.02, abs=1e-3)
    if slope:
        assert found.rank == pytest.approx(np.sign(slope), abs=0.01)


def test_least_squares_finds_the_slope_of_openings_that_are_never_likely() -> None:
    rows = planted(0.7)
    rows["outcome"] = logit(rows["outcome"]) - 40.0
    assert association(**rows, fit=least_squares).slope == pytest.approx(0.7 * rows["improbability"][::4].std())


def test_a_length_that_explains_all_leaves_nothing_to_the_improbability() -> None:
    rows = planted(0.0, seed=1)
    of_word = np.random.default_rng(2).normal(size=50)[rows["word"]]
    noise = np.random.default_rng(3).normal(size=50)[rows["word"]]
    share = expit(of_word)
    both = association(of_word + 0.3 * noise, of_word, share, rows["word"], rows["wording"], fractional_logit)
    assert both.rank > 0.9
    assert both.slope > 0.5
    assert both.slope_given_length == pytest.approx(0.0, abs=0.01)


def test_rows_without_a_value_are_left_out() -> None:
    rows = planted(0.7)
    gone = np.where(rows["word"] == 3, np.nan, rows["outcome"])
    kept = {name: each[rows["word"] != 3] for name, each in rows.items()}
    assert association(**{**rows, "outcome": gone}, fit=least_squares) == association(**kept, fit=least_squares)
    assert np.isnan(association(**{**rows, "outcome": np.full_like(gone, np.nan)}, fit=least_squares)).all()


def test_means_of_words_without_their_wordings() -> None:
    word, wording = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    np.testing.assert_allclose(by_word(np.array([1.0, 10.0, 3.0, 16.0]), word, wording), [-2.0, 2.0])


def test_a_word_drawn_twice_is_two_words() -> None:
    word, wording = np.array([5, 5, 2, 2, 5, 5]), np.array([0, 1, 0, 1, 0, 1])
    found = told_apart(word, wording)
    assert found.tolist() == [5, 5, 2, 2, 11, 11]
    assert told_apart(word[:4], wording[:4]).tolist() == [5, 5, 2, 2]


def test_partial_correlation_is_that_of_residuals() -> None:
    random = np.random.default_rng(4)
    z = random.normal(size=400)
    x, y = z + random.normal(size=400), 0.5 * z + random.normal(size=400)
    left = [each - np.polyval(np.polyfit(z, each, 1), z) for each in (x, y)]
    r = bound(lambda a, b: float(np.corrcoef(a, b)[0, 1]))
    assert partial(r(x, y), r(x, z), r(y, z)) == pytest.approx(r(*left), abs=1e-9)
    assert partial(0.4, float("nan"), 0.1) == 0.4
    assert np.isnan(partial(0.4, 1.0, 0.4))


def test_shares_of_nearly_one_have_a_finite_slope() -> None:
    rows = planted(30.0)
    slope = fractional_logit(rows["improbability"][:, None], rows["outcome"], rows["wording"])
    assert np.isfinite(slope).all()
    assert slope[0] > 5
