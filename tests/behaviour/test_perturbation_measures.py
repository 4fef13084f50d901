"""Distances, returns, loops and sentences of texts: against plain loops and known values."""

import numpy as np
import pytest

from mcinterp.behaviour.perturbation.measures import (
    Text,
    after_the_end,
    contraction_rate,
    edit_distances,
    effective_number,
    is_loop,
    local_distance,
    return_step,
    sentences,
    wholly_behind,
)


def levenshtein(one: list[int], other: list[int]) -> int:
    """Edit distance by the plain recursion."""
    if not one or not other:
        return len(one) + len(other)
    return min(
        levenshtein(one[1:], other) + 1,
        levenshtein(one, other[1:]) + 1,
        levenshtein(one[1:], other[1:]) + (one[0] != other[0]),
    )


def test_edit_distances_equal_a_plain_loop() -> None:
    random = np.random.default_rng(0)
    rows = [random.integers(3, size=n).tolist() for n in (5, 0, 3, 7)]
    texts = [random.integers(3, size=n).tolist() for n in (4, 6, 0, 5)]
    found = edit_distances(rows, texts, 6)
    assert found.shape == (4, 6)
    for row, text, distances in zip(rows, texts, found, strict=True):
        for step in range(6):
            if step >= len(row):
                assert np.isnan(distances[step])
            else:
                plain = min(levenshtein(row[: step + 1], text[:j]) for j in range(len(text) + 1))
                assert distances[step] == plain


def test_equal_texts_are_at_distance_zero_and_no_texts_give_none() -> None:
    assert (edit_distances([(1, 2, 3)], [(1, 2, 3, 4)], 3) == 0).all()
    assert edit_distances([], [], 4).shape == (0, 4)


def test_local_distance_is_the_growth_over_a_window() -> None:
    found = local_distance(np.array([[1.0, 2.0, 2.0, 2.0, np.nan]]), 2)
    np.testing.assert_array_equal(found, [[1.0, 1.0, 0.5, 0.0, np.nan]])


def test_behind_its_end_a_text_is_back_or_away() -> None:
    given = np.array([[0.5, np.nan], [0.5, np.nan], [0.5, np.nan], [0.5, np.nan]])
    found = after_the_end(given, np.array([True, True, False, True]), np.array([1.0, 0.0, 1.0, np.nan]))
    np.testing.assert_array_equal(found, [[0.5, 0.0], [0.5, 1.0], [0.5, np.nan], [0.5, np.nan]])


@pytest.mark.parametrize(
    ("continuation", "unedited", "step"),
    [
        (Text((1, 2, 3), True), Text((1, 2, 3), True), 0),
        (Text((9, 9, 2, 3), True), Text((1, 2, 3), True), 2),
        (Text((9, 1, 2), True), Text((1, 2, 3), True), np.inf),
        (Text((9, 1, 2), False), Text((0, 1, 2, 3), True), 1),
        (Text((2, 3), True), Text((2, 3), False), np.inf),
        (Text((9, 3), True), Text((1, 2, 3), True), np.inf),
        (Text((3,), True), Text((3,), True), np.nan),
    ],
)
def test_return_steps_with_runs_of_two_and_more(continuation: Text, unedited: Text, step: float) -> None:
    np.testing.assert_equal(return_step(continuation, unedited, 2), step)


@pytest.mark.parametrize(
    ("ids", "loop"),
    [
        ((1, 2, 3, 2, 3, 2, 3), True),
        ((5, 5, 5, 5, 5), False),
        ((0, 5, 5, 5, 5, 5, 5), True),
        ((1, 2, 3, 1, 2, 3, 1, 2), False),
        ((1, 2, 3, 1, 2, 3, 1, 2, 3), True),
        ((), False),
    ],
)
def test_loops(ids: tuple[int, ...], loop: bool) -> None:
    assert is_loop(ids) is loop


def test_sentences_of_ended_and_of_cut_texts() -> None:
    text = " One, two. Is it?\n>be me\n>anon leaves"
    assert sentences(text, ended=True) == ["One, two.", "Is it?", ">be me", ">anon leaves"]
    assert sentences(text, ended=False)[-1] == ">be me"
    assert sentences("Pi is 3.14 or so. And", ended=False) == ["Pi is 3.14 or so."]
    assert sentences(" ", ended=True) == []


def test_a_sentence_that_begins_before_the_place_does_not_count() -> None:
    whole = ["A b.", "C d.", "E f."]
    assert wholly_behind(whole, ["d.", "E f."]) == ["E f."]
    assert wholly_behind(whole, ["C d.", "E f."]) == ["C d.", "E f."]
    assert wholly_behind(whole, ["f."]) == []
    assert wholly_behind(whole, []) == []


def test_the_contraction_rate_of_an_exponential_is_its_exponent() -> None:
    steps = np.arange(1, 41)
    assert contraction_rate(np.exp(-0.3 * steps)) == pytest.approx(-0.3, abs=0.01)
    assert contraction_rate(np.exp(-0.02 * steps)) == pytest.approx(-0.02)
    assert contraction_rate(np.ones(40)) == 0.0
    assert contraction_rate(np.zeros(40)) == pytest.approx(np.log(0.01))
    assert np.isnan(contraction_rate(np.full(3, np.nan)))


def test_effective_numbers() -> None:
    assert effective_number(["a", "b", "a", "b"]) == pytest.approx(2.0)
    assert effective_number(["a"]) == 1.0
    assert np.isnan(effective_number([]))
