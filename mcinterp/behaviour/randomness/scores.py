"""Exact probability of every value of a support as the whole answer to a prompt, by teacher forcing.

" 1" is also how " 10" and " 100" begin, so the probability of its tokens is that of a prefix. A value counts as the
answer only where it ends: P(its tokens) times the mass of the next tokens that do not go on with the word (text that
begins with neither letter nor digit, or an end token). The values then exclude one another and their probabilities sum
to at most one, whatever the tokenizer; `1` followed by `000` is no value of the support either. A value's spellings
(leading space or none, capital or none) are summed, each in its usual tokens.

The prompt is read once and its keys and values serve all spellings.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float

from mcinterp.batching import Batch, pad
from mcinterp.behaviour.randomness.support import Question
from mcinterp.budget import bytes_on
from mcinterp.capture import final_residuals
from mcinterp.chain import Stage
from mcinterp.completions import CACHE_BYTES
from mcinterp.divergence import token_log_prob
from mcinterp.errors import InputError
from mcinterp.rendering import token_strings
from mcinterp.scoring import LOGIT_BYTES

Ids = Sequence[int]
Ends = Bool[torch.Tensor, "vocabulary"]


@dataclass(frozen=True)
class Spelled:
    """The distinct token sequences that write values after one prompt, and the index of the value that each writes.

    `onward` holds for each the tokens that lead on from it to another of them: those do not end it.
    """

    ids: tuple[tuple[int, ...], ...]
    value: tuple[int, ...]
    onward: tuple[tuple[int, ...], ...]
    n_values: int


def ending_tokens(tokenizer: Any, vocabulary: int, end: frozenset[int]) -> Ends:
    """Which tokens end a value that stands before them: their text begins with neither letter nor digit.

    End tokens (`end`) do so whatever their text.
    """
    texts = token_strings(tokenizer, range(vocabulary))
    return torch.tensor([index in end or not text[:1].isalnum() for index, text in enumerate(texts)])


def spell(tokenizer: Any, question: Question, text: str, prompt: Ids, rendering: str) -> Spelled:
    """The token sequences of every value after a prompt: those of the whole text where the prompt's stay as they are.

    Raises `InputError` where the vocabulary cannot write a value.
    """
    found: dict[tuple[int, ...], int] = {}
    for index, value in enumerate(question.support.values):
        forms = [lead + spelling for lead in question.leads for spelling in question.support.spellings(index)]
        tokens = continuations(tokenizer, text, prompt, forms, rendering)
        known = [ids for ids in tokens if ids and tokenizer.unk_token_id not in ids]
        if not known:
            raise InputError(f"the vocabulary has no tokens for the value {value!r}; leave it out of the support.")
        for each in known:
            found.setdefault(each, index)
    ids = tuple(found)
    onward = tuple(
        tuple({other[len(own)] for other in ids if len(other) > len(own) and other[: len(own)] == own}) for own in ids
    )
    return Spelled(ids, tuple(found.values()), onward, len(question.support))


def continuations(
    tokenizer: Any, text: str, prompt: Ids, forms: Sequence[str], rendering: str
) -> list[tuple[int, ...]]:
    """The tokens of forms behind a prompt: of both together, or of the form alone where those change the prompt's."""
    whole = tokenizer([text + form for form in forms], add_special_tokens=rendering == "raw").input_ids
    alone = tokenizer(list(forms), add_special_tokens=False).input_ids
    before = len(prompt)
    return [
        tuple(both[before:]) if tuple(both[:before]) == tuple(prompt) else tuple(own)
        for both, own in zip(whole, alone, strict=True)
    ]


@torch.inference_mode()
def value_log_probs(stage: Stage, prompt: Ids, spelled: Spelled, ends: Ends) -> Float[torch.Tensor, "value"]:
    """log P(the answer to the prompt is this value and no more) in nats, float64, one a value of the support."""
    each = spelling_log_probs(stage, prompt, spelled, ends)
    which = torch.tensor(spelled.value)
    return torch.stack([each[which == value].logsumexp(dim=0) for value in range(spelled.n_values)])


def spelling_log_probs(stage: Stage, prompt: Ids, spelled: Spelled, ends: Ends) -> Float[torch.Tensor, "spelling"]:
    """The same of every spelling."""
    start = pad([prompt])
    residual, cache = final_residuals(stage, start.tokens, start.attention, None)
    first = stage.readout.log_probs(residual[0, -1]).cpu()
    total = first[torch.tensor([ids[0] for ids in spelled.ids])].double()
    for rows in affordable_rows(stage, len(prompt), spelled):
        batch = pad([spelled.ids[row] for row in rows])
        behind = copy.deepcopy(cache)
        behind.batch_repeat_interleave(len(rows))
        attention = torch.cat([start.attention.expand(len(rows), -1), batch.attention], dim=-1)
        residual, _ = final_residuals(stage, batch.tokens, attention, behind)
        total[torch.tensor(rows)] += rest_log_probs(stage, batch, residual, [spelled.onward[r] for r in rows], ends)
    return total


def affordable_rows(stage: Stage, before: int, spelled: Spelled) -> Iterator[list[int]]:
    """Spellings whose keys and values, each with a copy of the prompt's, fit in `CACHE_BYTES` together."""
    config = stage.bridge.cfg
    heads = config.n_key_value_heads or config.n_heads
    longest = before + max(len(ids) for ids in spelled.ids)
    bytes_a_row = 2 * longest * stage.n_layers * heads * config.d_head * torch.finfo(stage.dtype).bits // 8
    size = max(1, bytes_on(stage, CACHE_BYTES) // bytes_a_row)
    order = sorted(range(len(spelled.ids)), key=lambda row: -len(spelled.ids[row]))
    yield from (order[begin : begin + size] for begin in range(0, len(order), size))


def rest_log_probs(
    stage: Stage, batch: Batch, residual: torch.Tensor, onward: Sequence[Ids], ends: Ends
) -> Float[torch.Tensor, "row"]:
    """log P(the tokens after the first, then an end) of every row of a right-padded batch of spellings."""
    cells = [(row, column) for row, length in enumerate(batch.lengths) for column in range(length)]
    total = torch.zeros(len(batch.lengths), dtype=torch.float64)
    size = max(1, LOGIT_BYTES // (4 * stage.readout.vocabulary))
    for begin in range(0, len(cells), size):
        row, column = torch.tensor(cells[begin : begin + size]).T
        read = stage.readout.log_probs(residual[row.to(residual.device), column.to(residual.device)])
        last = column + 1 == torch.tensor(batch.lengths)[row]
        following = batch.tokens[row, (column + 1).clamp(max=batch.tokens.shape[1] - 1)]
        ended = end_log_prob(read, [onward[index] for index in row.tolist()], ends)
        value = torch.where(last, ended, token_log_prob(read, following.to(read.device)).cpu())
        total.index_add_(0, row, value.double())
    return total


def end_log_prob(
    log_probs: Float[torch.Tensor, "cell vocabulary"], onward: Sequence[Ids], ends: Ends
) -> Float[torch.Tensor, "cell"]:
    """log of the mass of the tokens that end a spelling, those that lead on to another spelling left out."""
    ending = log_probs.masked_fill(~ends.to(log_probs.device), -torch.inf)
    for cell, tokens in enumerate(onward):
        ending[cell, list(tokens)] = -torch.inf
    return ending.logsumexp(dim=-1).cpu()


def check_room(index: int, prompt: Ids, spelled: Spelled, context: int) -> None:
    """Refuse a prompt behind which the longest spelling does not fit."""
    longest = max(len(ids) for ids in spelled.ids)
    if len(prompt) + longest > context:
        raise InputError(
            f"prompt {index} has {len(prompt)} tokens, its longest answer {longest}, and the context holds {context}; "
            f"shorten the prompt or leave it out."
        )
