"""Modal strings: counts by hand, ties, and what chance gives."""

import numpy as np

from mcinterp.diversity.substrings import holding, in_every_prompt, modal, runs, shares, shuffled, words

TASK = [
    [words("The sea, the sea!"), words("It is the sea.")],
    [words("the sea is made of straight lines"), words("no")],
    [words("made of straight lines"), words("lines made of straight")],
]


def test_words_are_small_letters_without_punctuation() -> None:
    assert words("Don't STOP—the\n sea!") == ("don't", "stop", "the", "sea")
    assert runs(words("a b a b"), 2) == {("a", "b"), ("b", "a")}


def test_a_share_counts_an_output_once_and_inputs_alike() -> None:
    found = shares(TASK, 2)
    assert found["the", "sea"] == (1 + 1 / 2 + 0) / 3
    assert found["made", "of"] == (0 + 1 / 2 + 1) / 3
    np.testing.assert_allclose(holding(TASK, ("the", "sea")), [1, 0.5, 0])
    np.testing.assert_array_equal(holding(TASK, ()), [0, 0, 0])


def test_the_modal_run_is_the_commonest_then_the_first() -> None:
    assert modal(TASK, 1) == ("lines",)  # half of the outputs, as `made`, `of`, `sea`, `straight` and `the`
    assert modal(TASK, 1, {("lines",)}) == ("made",)
    assert modal(TASK, 3) == ("made", "of", "straight")
    assert modal(TASK, 9) == ()


def test_what_every_prompt_holds_can_be_left_out() -> None:
    prompts = [words("Describe the letter A."), words("Describe the letter B.")]
    assert in_every_prompt(prompts, 2) == {("describe", "the"), ("the", "letter")}


def test_shuffling_keeps_words_and_lengths() -> None:
    dealt = shuffled(TASK, np.random.default_rng(0))
    assert [[len(t) for t in outputs] for outputs in dealt] == [[len(t) for t in outputs] for outputs in TASK]
    assert sorted(w for o in dealt for t in o for w in t) == sorted(w for o in TASK for t in o for w in t)
    assert dealt != TASK
