"""What stands before a prompt: precedents of other answers, and the number of a rater.

Two remedies that the post and its comments name: a few diverse answers put before the prompt, and training on (here
only asking for) many raters instead of one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
import xarray as xr

from mcinterp import divergence
from mcinterp.behaviour.contexts.reading import labels, last_position, last_rows
from mcinterp.chain import Chain
from mcinterp.completions import Decoding, complete_many
from mcinterp.errors import InputError
from mcinterp.prompts import Prompt, Prompts
from mcinterp.results import describe, with_provenance
from mcinterp.sequences import provenance, with_completions

PRECEDENTS = ("diverse", "repeated")
ANSWERS = Decoding(max_new_tokens=16, temperature=1.0)
RATERS = (3, 14, 27, 58, 101, 212, 340, 999)


def precedent(
    chain: Chain, prompts: Prompts, *, shots: Sequence[int] = (0, 1, 3), rendering: str = "raw", seed: int = 0
) -> xr.Dataset:
    """The entropy after a prompt that stands behind earlier copies of itself, each with an answer.

    Answers are the prompt's own `answers` (metadata), else different texts that the base writes. Over
    `stage, prompt, shots, precedent`: `shot_entropy` and `shot_gap` (nats, base minus stage behind the same tokens).
    `diverse` precedents have different answers; `repeated` ones, the control, the first of them every time. Missing
    where the context or the number of different answers falls short.

    Raises:
        InputError: for a negative number of shots, or no number at all.
    """
    if not shots or min(shots) < 0:
        raise InputError(f"got shots={list(shots)}; give numbers of 0 or more, one at least.")
    answers = answers_of(chain, prompts, max(shots), rendering, seed)
    found = np.full((len(chain.stages), len(prompts), len(shots), len(PRECEDENTS)), np.nan, np.float32)
    for s, count in enumerate(shots):
        for k, kind in enumerate(PRECEDENTS):
            chosen = [shown(each, count, kind) for each in answers]
            made = [after(p, a) if a is not None else None for p, a in zip(prompts.items, chosen, strict=True)]
            there = fitting(chain, made, rendering)
            if there:
                rendered = chain.render(Prompts(tuple(p for i in there if (p := made[i]) is not None)), rendering)
                found[:, there, s, k] = last_position(chain, rendered)["entropy"].values
    dims = ("stage", "prompt", "shots", "precedent")
    data = {"shot_entropy": (dims, found), "shot_gap": (dims, found[:1] - found)}
    return labelled(chain, prompts, rendering, data, {"shots": list(shots), "precedent": list(PRECEDENTS)}, seed)


def answers_of(chain: Chain, prompts: Prompts, wanted: int, rendering: str, seed: int) -> list[list[str]]:
    """Different answers to every prompt: its own, else what the base writes at temperature 1."""
    rendered = chain.render(prompts, rendering)
    drawn = complete_many(
        chain.base, rendered.token_ids, replace(ANSWERS, seed=seed), context=chain.alignment.context,
        samples=max(1, 3 * wanted),
    )  # fmt: skip
    found = []
    for prompt, each in zip(prompts.items, drawn, strict=True):
        own = [str(answer) for answer in prompt.metadata.get("answers", ())]
        texts = chain.tuned.tokenizer.batch_decode(each, clean_up_tokenization_spaces=False)
        found.append(list(dict.fromkeys(cut for text in own or texts if (cut := first_paragraph(text)))))
    return found


def first_paragraph(text: str) -> str:
    """A text up to its first empty line, white space before it kept; empty where there is nothing else."""
    body = text.lstrip()
    return text[: len(text) - len(body)] + body.split("\n\n")[0].rstrip() if body else ""


def shown(answers: Sequence[str], count: int, kind: str) -> list[str] | None:
    """The answers of the precedents, or None where there are too few different ones."""
    if len(answers) < count:
        return None
    return list(answers[:count]) if kind == "diverse" else [answers[0]] * count if count else []


def after(prompt: Prompt, answers: Sequence[str]) -> Prompt:
    """The prompt behind copies of itself, each with one of the answers."""
    text = "".join(f"{prompt.text}{answer}\n\n" for answer in answers) + prompt.text
    turns = [(*prompt.conversation, {"role": "assistant", "content": answer.strip()}) for answer in answers]
    messages = (*(message for turn in turns for message in turn), *prompt.conversation)
    return replace(prompt, text=text, messages=messages)


def fitting(chain: Chain, made: Sequence[Prompt | None], rendering: str) -> list[int]:
    """Which prompts are there and within the context."""
    there = [i for i, prompt in enumerate(made) if prompt is not None]
    given = tuple(prompt for prompt in made if prompt is not None)
    if not given:
        return []
    ids = Prompts(given).render(chain.base.tokenizer, rendering, chain.chat_template).token_ids
    return [i for i, each in zip(there, ids, strict=True) if len(each) <= chain.alignment.context]


def raters(
    chain: Chain, prompts: Prompts, *, numbers: Sequence[int] = RATERS, rendering: str = "raw", seed: int = 0
) -> xr.Dataset:
    """The distribution after a prompt that begins with "Rater #101: ", for many raters.

    Over `stage, prompt`: `rater_entropy`, the mean entropy over raters; `pooled_entropy`, the entropy of their mean
    distribution; `rater_information` = pooled - mean, what the rater says of the next token; `rater_gap` and
    `pooled_gap`, base minus stage (all in nats). Missing where a prompt with a rater exceeds the context.

    Raises:
        InputError: for fewer than two raters.
    """
    if len(numbers) < 2:
        raise InputError(f"got {len(numbers)} rater(s); give 2 or more, whose mixture can be read.")
    vocabulary = chain.alignment.vocabulary
    mixed = np.zeros((len(chain.stages), len(prompts), vocabulary), dtype=np.float32)
    mean = np.zeros((len(chain.stages), len(prompts)))
    count = np.zeros(len(prompts))
    for number in numbers:
        made = [rated(prompt, f"Rater #{number}: ") for prompt in prompts.items]
        there = fitting(chain, made, rendering)
        if not there:
            continue
        count[there] += 1
        for rows, read in last_rows(chain, chain.render(Prompts(tuple(made[i] for i in there)), rendering)):
            at = [there[row] for row in rows]
            for stage, q in enumerate(read):
                mixed[stage, at] += q.exp().numpy() / len(numbers)
                mean[stage, at] += divergence.entropy(q).numpy() / len(numbers)
    return rated_dataset(chain, prompts, rendering, mixed, np.where(count == len(numbers), mean, np.nan), seed)


def rated(prompt: Prompt, prefix: str) -> Prompt:
    """The prompt with a prefix before its text, or before its first user message."""
    place = next((i for i, m in enumerate(prompt.messages) if m["role"] == "user"), None)
    turns = [{**m, "content": prefix + m["content"]} if i == place else m for i, m in enumerate(prompt.messages)]
    return replace(prompt, text=prefix + prompt.text, messages=tuple(turns))


def rated_dataset(
    chain: Chain, prompts: Prompts, rendering: str, mixed: np.ndarray, mean: np.ndarray, seed: int
) -> xr.Dataset:
    """The measures of mixtures and mean entropies over raters."""
    pooled = np.stack([divergence.entropy(torch.from_numpy(each).log()).numpy() for each in mixed])
    pooled = np.where(np.isnan(mean), np.nan, pooled)
    named = {
        "rater_entropy": mean,
        "pooled_entropy": pooled,
        "rater_information": np.maximum(pooled - mean, 0.0),
        "rater_gap": mean[:1] - mean,
        "pooled_gap": pooled[:1] - pooled,
    }
    data = {name: (("stage", "prompt"), values.astype(np.float32)) for name, values in named.items()}
    return labelled(chain, prompts, rendering, data, {}, seed)


def labelled(
    chain: Chain,
    prompts: Prompts,
    rendering: str,
    data: Mapping[str, tuple[tuple[str, ...], np.ndarray]],
    coords: Mapping[str, Sequence[int | str]],
    seed: int,
) -> xr.Dataset:
    """A described dataset with the prompts' labels and provenance."""
    rendered = chain.render(prompts, rendering)
    dataset = xr.Dataset(data, coords={"stage": list(chain.names), **labels(rendered), **coords})
    bare = with_completions(chain, rendered, [()] * len(rendered), "none")
    return with_provenance(describe(dataset), analysis="precedent", seed=seed, **provenance(chain, bare))
