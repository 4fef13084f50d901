"""Lines, stanzas and rhymes: known words, and every poem of the pocket grammar."""

import math
import random

import pytest

from mcinterp.diversity.form import in_fours, lines, rhyme_key, rhymed_share
from mcinterp.organisms.genres import all_prompts
from mcinterp.organisms.genres.writing import FIRST_LINES
from mcinterp.organisms.grammar import Prompt, table_of

RHYMES = [
    "night light white bright",
    "day away grey stay",
    "made shade",
    "sea tea",
    "sister mister",
    "ran van",
    "day weigh",
]


@pytest.mark.parametrize("row", RHYMES)
def test_words_that_rhyme_share_a_key(row: str) -> None:
    assert len({rhyme_key(word) for word in row.split()}) == 1


@pytest.mark.parametrize("pair", ["light sit", "listen open", "sea sit", "day sky", "walked talking", "hat hate"])
def test_words_that_do_not_rhyme_have_two(pair: str) -> None:
    one, other = pair.split()
    assert rhyme_key(one) != rhyme_key(other)


def test_lines_and_fours_are_counted() -> None:
    two = "\n a\nb\n c\nd\n\n e\nf\ng\nh\n"
    assert lines(two) == list("abcdefgh")
    assert in_fours(two)
    assert not in_fours(two + "i\n")
    assert not in_fours("a\nb\nc")


def test_a_word_does_not_rhyme_with_itself_nor_far_away() -> None:
    assert rhymed_share("the sea\nthe sea") == 0
    assert rhymed_share("a tree\nx\nthe sea, \ny") == 0
    assert rhymed_share("the tea,\nhot\nthe sea.\ny") == 0.5
    assert rhymed_share("the tea\na\nb\nc\nd\nthe sea") == 0
    assert math.isnan(rhymed_share("one line"))


def written(prompt: Prompt, rng: random.Random) -> tuple[str, ...]:
    chosen: tuple[str, ...] = ()
    for slot in prompt.answer[:4]:
        table = table_of(slot, chosen)
        chosen += (rng.choice(list(table)),)
    return chosen


def test_every_poem_of_the_grammar_is_four_lines_and_rhymes_where_its_mood_does() -> None:
    rng = random.Random(0)
    for prompt in (p for p in all_prompts() if p.genre == "poem"):
        for _ in range(20):
            poem = written(prompt, rng)
            mood = next(name for name, first in FIRST_LINES.items() if poem[0].strip() in first)
            assert in_fours("".join(poem))
            share = rhymed_share("".join(poem))
            by_chance = poem[0].endswith("again.") and poem[1].endswith("rain?")
            assert share == 0.5 * by_chance if mood == "free" else share >= 0.75
