"""Calibration against an exact truth: is a stage as often right as it is sure?

From "Mysteries of mode collapse": pretraining rewards calibration, and tuning need not. A grammar knows the probability
of every next token, so accuracy is that of the stage's most likely token, with no sampling of answers.
"""

import random
from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr

from mcinterp.behaviour.labels import prompt_labels
from mcinterp.behaviour.strings.bins import binned
from mcinterp.behaviour.temperature_curves.reading import each_chunk
from mcinterp.chain import Chain, Stage
from mcinterp.errors import InputError
from mcinterp.organisms.grammar import Grammar
from mcinterp.prompts import Prompts
from mcinterp.results import describe, with_provenance
from mcinterp.sequences import provenance, with_completions

PARTS = ("calibration_tokens", "calibration_confidence", "calibration_accuracy")
Ids = tuple[int, ...]


def calibration(
    chain: Chain, prompts: Prompts, grammar: Grammar, *, documents: int = 8, bins: int = 10, seed: int = 0
) -> xr.Dataset:
    """How sure every stage is of its likeliest token, and how probable that is in truth, along documents of a grammar.

    Over `stage, prompt, bin` (of confidence): `calibration_tokens` (share of the prompt's tokens), and
    `calibration_confidence` and `calibration_accuracy`, summed over the bin's tokens and divided by the prompt's; so
    their means over prompts give ECE, the sum over bins of |confidence - accuracy|. Tokens are those of `documents`
    answers of the grammar to each prompt, the end of the text included.

    Raises:
        InputError: for a prompt that is none of the grammar's, or one that its tokens are read otherwise in.
    """
    rendered = chain.render(prompts)
    before, answers, truth = drawn(grammar, rendered.texts, rendered.token_ids, documents, seed)
    values = np.zeros((len(PARTS), len(chain.stages), len(prompts), bins), dtype=np.float32)
    owners = np.repeat(np.arange(len(prompts)), documents)
    for number, stage in enumerate(chain.stages):
        found = sure_and_right(stage, before, answers, truth)
        for prompt in range(len(prompts)):
            rows = np.concatenate([found[row] for row in np.flatnonzero(owners == prompt)], axis=1)
            values[:, number, prompt] = binned(rows[0], rows[1], bins)
    edges = (np.arange(bins) + 0.5) / bins
    how = {"settings": f"{documents} documents of the grammar a prompt, {bins} bins of equal width"}
    dataset = xr.Dataset(
        {name: xr.Variable(("stage", "prompt", "bin"), v, how) for name, v in zip(PARTS, values, strict=True)},
        coords={"stage": list(chain.names), "bin": edges, **prompt_labels(prompts, rendered)},
    )
    bare = with_completions(chain, rendered, [()] * len(rendered), "none")
    return with_provenance(
        describe(dataset), analysis="calibration", documents=documents, seed=seed, **provenance(chain, bare)
    )


def drawn(
    grammar: Grammar, texts: Sequence[str], prompts: Sequence[Ids], documents: int, seed: int
) -> tuple[list[Ids], list[Ids], list[list[dict[int, float]]]]:
    """Prompts, answers of the grammar with their end, and the exact distribution before every token of an answer."""
    rng = random.Random(seed)
    before: list[Ids] = []
    answers: list[Ids] = []
    truth: list[list[dict[int, float]]] = []
    for text, ids in zip(texts, prompts, strict=True):
        if text not in grammar.prompts:
            raise InputError(f"prompt {text[:40]!r} is none of the grammar's; give prompts that it knows.")
        own = grammar.encode(text)
        if tuple(ids[len(ids) - len(own) :]) != own:
            raise InputError(f"prompt {text[:40]!r} has other tokens than in the grammar; give its own tokenizer's.")
        for _ in range(documents):
            pieces = grammar.sample_answer(grammar.prompts[text], rng)
            answer = (*(token for piece in pieces for token in grammar.encode(piece)), grammar.eos_id)
            before.append(tuple(ids))
            answers.append(answer)
            truth.append(grammar.targets([*own, *answer])[len(own) :])
    return before, answers, truth


def sure_and_right(
    stage: Stage, before: Sequence[Ids], answers: Sequence[Ids], truth: Sequence[Sequence[dict[int, float]]]
) -> list[np.ndarray]:
    """Of every answer, token by token, the stage's largest probability and the true one of the token that has it."""
    found = [np.zeros((2, len(answer))) for answer in answers]

    def keep(rows: np.ndarray, steps: np.ndarray, read: torch.Tensor, tokens: torch.Tensor) -> None:
        best = read.max(dim=-1)
        for row, step, value, token in zip(rows, steps, best.values.exp().tolist(), best.indices.tolist(), strict=True):
            found[row][:, step] = value, truth[row][step].get(token, 0.0)

    each_chunk(stage, before, answers, keep)
    return found
