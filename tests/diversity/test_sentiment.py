"""The word list: disjoint, counted, turned round by negations, and silent where it knows nothing."""

import math

from mcinterp.diversity.sentiment import lexicon, sentiment


def test_no_word_is_on_two_lists() -> None:
    lists = lexicon()
    assert not lists["positive"] & lists["negative"]
    assert not lists["negations"] & (lists["positive"] | lists["negative"])
    assert all(word == word.lower() for listed in lists.values() for word in listed)


def test_words_are_counted_and_negations_turn_them() -> None:
    assert sentiment("They were happy together.") == 1
    assert sentiment("She died alone, full of regret.") == -1
    assert sentiment("It was not a happy day.") == -1
    assert sentiment("She never felt regret.") == 1
    assert sentiment("They won, and lost it all.") == 0
    assert math.isnan(sentiment("The clock has hands."))
