"""Self-BLEU by sacrebleu: how well the other samples foretell one, n-gram by n-gram (Zhu et al. 2018, Texygen)."""

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sacrebleu.metrics.bleu import BLEU


@cache
def metric() -> "BLEU":
    """Sentence BLEU of up to 4-grams, empty counts taken as 0.1, texts shorter than 4 tokens by what they have."""
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(effective_order=True, smooth_method="floor")


def signature() -> str:
    """The settings in sacrebleu's own words, without the number of references."""
    fields = str(metric().get_signature()).split("|")
    return "|".join(field for field in fields if not field.startswith("nrefs"))


def self_bleu(texts: Sequence[str]) -> float:
    """Mean BLEU of every text against all others, in [0, 1]; 1 where they are the same, missing below two texts.

    Texts that are blank are left out: BLEU says nothing of them. It rises with the number of texts, so compare equal
    numbers.
    """
    kept = [text for text in texts if text.strip()]
    if len(kept) < 2:
        return float("nan")
    seen: dict[str, float] = {}
    for index, text in enumerate(kept):
        if text not in seen:
            others = list(dict.fromkeys(kept[:index] + kept[index + 1 :]))  # BLEU counts a reference once
            seen[text] = float(metric().sentence_score(text, others).score) / 100
    return float(np.mean([seen[text] for text in kept]))
