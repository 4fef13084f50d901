"""Sampling answers from a checkpoint, many prompts at a time."""

from collections.abc import Sequence

import torch
from transformers import LlamaForCausalLM

from mcinterp.organisms.tokenizer import END_ID, PAD_ID

MAX_NEW_TOKENS = 120
CHUNK = 256


def pad_left(prompts: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and attention mask [prompt, position], padded on the left to the longest prompt."""
    width = max(len(ids) for ids in prompts)
    ids = torch.tensor([[*[PAD_ID] * (width - len(p)), *p] for p in prompts])
    mask = torch.tensor([[*[0] * (width - len(p)), *[1] * len(p)] for p in prompts])
    return ids, mask


def _draw(logits: torch.Tensor, temperature: float, generator: torch.Generator) -> torch.Tensor:
    if temperature == 0:
        return logits.argmax(-1)
    probabilities = (logits.float() / temperature).softmax(-1)
    return torch.multinomial(probabilities, 1, generator=generator)[:, 0]


@torch.no_grad()
def _sample_chunk(
    model: LlamaForCausalLM,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    temperature: float,
    generator: torch.Generator,
) -> list[list[int]]:
    ids, mask = pad_left(prompts)
    positions = (mask.cumsum(-1) - 1).clamp_min(0)
    cache = None
    new: list[torch.Tensor] = []
    ended = torch.zeros(len(prompts), dtype=torch.bool)
    for _ in range(max_new_tokens):
        out = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        cache = out.past_key_values
        token = _draw(out.logits[:, -1], temperature, generator).masked_fill(ended, PAD_ID)
        new.append(token)
        ended |= token == END_ID
        if bool(ended.all()):
            break
        ids, positions = token[:, None], positions[:, -1:] + 1
        mask = torch.cat([mask, torch.ones_like(ids)], -1)
    rows = torch.stack(new, -1).tolist()
    return [row[: row.index(END_ID) + 1] if END_ID in row else row for row in rows]


def sample_answers(
    model: LlamaForCausalLM,
    prompts: Sequence[Sequence[int]],
    generator: torch.Generator,
    temperature: float = 1.0,
    max_new_tokens: int = MAX_NEW_TOKENS,
) -> list[list[int]]:
    """One sampled answer per prompt, as token ids, end-of-text included where it was reached.

    Prompts are token ids that begin with the beginning-of-text token. Temperature 0 is greedy.

    Raises:
        ValueError: no prompt, a negative temperature, or prompts that leave no room to answer.
    """
    if not prompts or temperature < 0:
        raise ValueError(
            f"got {len(prompts)} prompts at temperature {temperature}, wanted at least one prompt"
            " and a temperature of at least 0: check the call"
        )
    room = model.config.max_position_embeddings - max(len(p) for p in prompts)
    if room < 1:
        raise ValueError(f"got a prompt that leaves {room} positions, wanted 1 or more: shorten it")
    found = []
    for start in range(0, len(prompts), CHUNK):
        chunk = prompts[start : start + CHUNK]
        found += _sample_chunk(model, chunk, min(max_new_tokens, room), temperature, generator)
    return found
