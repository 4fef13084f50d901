"""Self-BLEU: the formula by hand, and its limits."""

import math
from collections import Counter

import pytest

from mcinterp.diversity import bleu

TEXTS = ["the cat sat on the mat today", "the cat sat on a red mat", "a dog ran far away from home"]


def by_hand(text: str, others: list[str]) -> float:
    """Clipped precisions of 1- to 4-grams, 0.1 for none, times the brevity penalty (Papineni et al. 2002)."""

    def grams(words: list[str], n: int) -> Counter:
        return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))

    words, references = text.split(), [other.split() for other in others]
    logs = []
    for n in (1, 2, 3, 4):
        own = grams(words, n)
        best = {g: max(grams(r, n)[g] for r in references) for g in own}
        matched = sum(min(count, best[g]) for g, count in own.items())
        logs.append(math.log((matched or 0.1) / sum(own.values())))
    closest = min((abs(len(r) - len(words)), len(r)) for r in references)[1]
    return math.exp(sum(logs) / 4) * min(1.0, math.exp(1 - closest / len(words)))


def test_it_is_the_mean_over_texts_of_bleu_against_the_others() -> None:
    expected = sum(by_hand(text, [t for t in TEXTS if t != text]) for text in TEXTS) / 3
    assert bleu.self_bleu(TEXTS) == pytest.approx(expected, abs=1e-6)
    assert bleu.self_bleu(TEXTS) == pytest.approx(0.3075822185, abs=1e-6)  # nltk 3.10.4, smoothing method 1


def test_the_same_text_is_one_however_short_and_blanks_are_left_out() -> None:
    assert bleu.self_bleu([TEXTS[0]] * 3) == pytest.approx(1)
    assert bleu.self_bleu(["heads", "heads", "  "]) == pytest.approx(1)
    assert math.isnan(bleu.self_bleu(["heads", ""]))
    assert "nrefs" not in bleu.signature()
    assert "smooth:floor" in bleu.signature()
