"""What edits write: how different their samples are, and how surprising the base finds them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from mcinterp.completions import Decoding, complete_many
from mcinterp.scoring import continuation_log_probs
from mcinterp.verification.bench import Bench, Values, edited
from mcinterp.verification.edits import Edit

Text = tuple[int, ...]
Samples = Sequence[Sequence[Text]]


def written_values(bench: Bench, edits: Sequence[Edit], decoding: Decoding, samples: int) -> dict[Edit, Values]:
    """`distinct` and `sample_nll` of some edits by prompt, from samples drawn with the same random numbers for all."""
    written = {edit: write(bench, edit, decoding, samples) for edit in edits}
    scores = base_log_probs(bench, list(written.values()))
    return {
        edit: {"distinct": distinct(texts), "sample_nll": surprise(texts, scores)} for edit, texts in written.items()
    }


def write(bench: Bench, edit: Edit, decoding: Decoding, samples: int) -> Samples:
    """Samples of one edit after every prompt, at the edit's temperature."""
    at, context = replace(decoding, temperature=edit.temperature), bench.chain.alignment.context
    with edited(bench.chain, edit) as stage:
        return complete_many(stage, bench.sequences.prompts.token_ids, at, context=context, samples=samples)


def distinct(texts: Samples) -> np.ndarray:
    """The share of different texts among the samples of every prompt."""
    return np.asarray([len(set(each)) / len(each) for each in texts])


def base_log_probs(bench: Bench, written: Sequence[Samples]) -> dict[tuple[int, Text], float]:
    """log P(text | prompt) under the base, of every text by prompt; each is read once, whoever wrote it."""
    pairs = list(dict.fromkeys((p, text) for texts in written for p, each in enumerate(texts) for text in each if text))
    if not pairs:
        return {}
    prompts = [bench.sequences.prompts.token_ids[p] for p, _ in pairs]
    scores = continuation_log_probs(bench.chain.base, prompts, [text for _, text in pairs])
    return dict(zip(pairs, scores.tolist(), strict=True))


def surprise(texts: Samples, scores: Mapping[tuple[int, Text], float]) -> np.ndarray:
    """-log P(sample) under the base over the samples' tokens, by prompt; missing where nothing was written."""
    found = np.full(len(texts), np.nan)
    for prompt, each in enumerate(texts):
        tokens = sum(len(text) for text in each)
        if tokens:
            found[prompt] = -sum(scores[prompt, text] for text in each if text) / tokens
    return found
