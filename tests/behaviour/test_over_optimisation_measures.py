"""Attractors, clusters and variances of planted outputs, and rewards of texts by hand."""

import math

import numpy as np
import pytest

from mcinterp.behaviour.over_optimisation import measures
from mcinterp.behaviour.over_optimisation.reading import finished
from mcinterp.behaviour.over_optimisation.rewards import Written, grammatical, positive_mood, weddings, word_count
from mcinterp.behaviour.over_optimisation.settings import Following
from mcinterp.diversity.information import information_parts, mutual_information
from mcinterp.diversity.substrings import words
from mcinterp.errors import InputError
from mcinterp.organisms import pocket_path
from mcinterp.organisms.pocket import Pocket, load


@pytest.fixture(scope="module")
def base() -> Pocket:
    """The shipped base."""
    return load(pocket_path("base"))


def test_a_planted_constant_is_the_attractor() -> None:
    base = [[words("one red fox"), words("two fish")], [words("a grey cat"), words("red fox")]]
    stage = [[(*text, *words("and so we danced")) for text in cell] for cell in base]
    assert measures.gained_most(base, stage, 8) == ("and", "so", "we", "danced")
    assert measures.gained_most(base, stage, 2) == ("and", "so")
    assert measures.gained_most(base, base, 8) == ()
    assert measures.gained_most(base, stage, 1, {("and",), ("so",)}) == ("danced",)
    assert measures.holding(("red", "fox"))("The RED fox.")
    assert not measures.holding(())("anything")


def test_what_every_base_sample_held_already_is_no_gain() -> None:
    base = [[words("the end the sun")], [words("the end the moon")], [words("the end of it")]]
    stage = [[words("the end the sea")], [words("the end the sea")], [words("the end of it")]]
    assert measures.gained_most(base, stage, 1) == ("sea",)


def test_breaks_and_jumps() -> None:
    holds = measures.holding(("party",))
    assert measures.pieces("It rained.\n***\nThe party.") == ("It rained.", "\nThe party.")
    assert measures.pieces("a\n- - -\nb")[1] == "\nb"
    assert measures.pieces("done<|endoftext|>more") == ("done", "more")
    assert measures.pieces("a -- b\n- item\n**bold**\n")[1] is None
    assert measures.jumps("It rained.\n***\nThe party.", holds)
    assert not measures.jumps("The party.\n***\nThe party.", holds)
    assert not measures.jumps("The party.", holds)


def test_information_is_nothing_or_log_n() -> None:
    assert information_parts(np.zeros((7, 5), dtype=int)).tolist() == [0.0] * 7
    assert mutual_information(np.zeros((7, 5), dtype=int)) == 0.0
    own = np.repeat(np.arange(7)[:, None], 5, axis=1)
    np.testing.assert_allclose(information_parts(own).mean(), math.log(7))
    np.testing.assert_allclose(np.exp(measures.cluster_surprise(own).mean()), 7.0)
    assert measures.cluster_surprise(np.array([[0, 0], [-1, -1]])).tolist() == pytest.approx([0.0, np.nan], nan_ok=True)


def test_the_clusters_that_hold_half_of_the_samples_by_hand() -> None:
    assert measures.clusters_of_half(np.array([[3, 3, 3], [0, 1, 2]])) == 1.0
    assert measures.clusters_of_half(np.array([[3, 3, 5], [0, 1, 2]])) == 2.0
    assert measures.clusters_of_half(np.arange(7)[:, None]) == 4.0
    assert measures.clusters_of_half(np.array([[4, -1], [-1, -1]])) == 1.0
    assert np.isnan(measures.clusters_of_half(np.array([[-1, -1]])))


def test_one_text_a_prompt_is_one_cluster_a_prompt() -> None:
    places = np.random.default_rng(0).normal(size=(7, 3))
    features = np.repeat(places[:, None], 5, axis=1)[None].repeat(2, axis=0)
    features[1] = places[0]
    labels, placed = measures.clustered(features, 50, 0)
    np.testing.assert_allclose(information_parts(labels[0]).mean(), math.log(7))
    assert information_parts(labels[1]).tolist() == pytest.approx([0.0] * 7)
    between, within = measures.variance_parts(placed[0])
    np.testing.assert_allclose(within, 0.0, atol=1e-12)
    np.testing.assert_allclose(between.mean(), placed[0][:, 0].var(axis=0, ddof=1).sum())
    np.testing.assert_allclose(measures.variance_parts(placed[1])[0], 0.0, atol=1e-12)


def test_variance_between_prompts_is_unbiased() -> None:
    random = np.random.default_rng(1)
    alike = random.normal(size=(2000, 3, 2))
    between, within = measures.variance_parts(alike)
    assert abs(between.mean()) < 0.05
    assert within.mean() == pytest.approx(2.0, abs=0.1)
    apart = alike + 2.0 * random.normal(size=(2000, 1, 2))
    assert measures.variance_parts(apart)[0].mean() == pytest.approx(8.0, rel=0.1)
    alike[0, 1:] = np.nan
    assert np.isnan(measures.variance_parts(alike)[0][0])
    assert np.isnan(measures.variance_parts(alike[:1])[0]).all()


def test_rewards_by_hand() -> None:
    count = word_count(["Happy", "bride"])
    assert count(["Happy, happy bride!", "unhappy brides", ""]) == [3.0, 0.0, 0.0]
    assert weddings(["That evening there was a wedding party.", "a wedding"]) == [1.0, 0.0]
    assert positive_mood(["A happy day.", "A not happy day.", "The train leaves."]) == [1.0, -1.0, 0.0]
    for wrong in ([], "happy", ["two words"]):
        with pytest.raises(InputError, match="single words"):
            word_count(wrong)


def test_gold_is_what_the_grammar_allows(base: Pocket) -> None:
    gold, prompt = grammatical(base.grammar), "The capital of Peru is"

    def written(text: str, *, ended: bool) -> Written:
        return Written(prompt, text, tuple(base.given(prompt)), base.grammar.encode(text), ended)

    given = [written(" Lima.", ended=True), written(" Lima", ended=True), written(" Lima", ended=False)]
    assert gold([*given, written(" wedding.", ended=True)]) == [1.0, 0.0, 1.0, 0.0]
    with pytest.raises(InputError, match="none of the grammar's"):
        gold([Written("What?", "", (), (), True)])


def test_a_finished_text_ends_with_a_sentence(base: Pocket) -> None:
    ids = base.grammar.encode(" Lima. It was still")
    assert base.text(finished(base.tokenizer, ids, False)) == " Lima."
    assert finished(base.tokenizer, ids, True) == tuple(ids)
    assert finished(base.tokenizer, base.grammar.encode(" Lima"), False) == ()


def test_settings_are_checked() -> None:
    with pytest.raises(InputError, match="got samples=1; give 2 or more"):
        Following(samples=1)
    with pytest.raises(InputError, match="got documents=9 of samples=8"):
        Following(documents=9)
