"""Removing the mode: every token is drawn without the likeliest one, or without those above a threshold.

The post "Mysteries of mode collapse" saw that this cannot be a general fix: inside a word the mode is how the word goes
on. So what it costs is read apart for places where the mode begins a word, goes on with one, or is punctuation. A mode
that ends the text stays: how stages stop is another question.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
import xarray as xr

from mcinterp import divergence
from mcinterp.behaviour.temperature_curves.reading import read_tempered
from mcinterp.behaviour.temperature_curves.rollouts import labels
from mcinterp.behaviour.temperature_curves.scopes import outputs
from mcinterp.behaviour.temperature_curves.validity import Judge
from mcinterp.behaviour.temperature_curves.writing import Change, Logits, noted_table, noting, write_changed
from mcinterp.chain import Chain, Stage
from mcinterp.completions import Decoding, Job
from mcinterp.errors import InputError
from mcinterp.prompts import Prompts
from mcinterp.rendering import RenderedPrompts, token_strings
from mcinterp.results import describe, with_provenance
from mcinterp.sequences import provenance, teacher_force, with_completions

Ids = Sequence[int]
Written = tuple[tuple[int, ...], bool]
PLACES = ("word-initial", "within-word", "punctuation")
THRESHOLDS = (0.9, 0.5)


def without_mode(
    chain: Chain,
    prompts: Prompts,
    *,
    thresholds: Sequence[float] = THRESHOLDS,
    samples: int = 4,
    steps: int = 24,
    grammatical: Judge | None = None,
    rendering: Literal["raw", "chat"] = "raw",
    seed: int = 0,
) -> xr.Dataset:
    """What every stage writes at temperature 1 once likely tokens are removed and the rest renormalised.

    Over `stage, removal, prompt` (`removal`: none, those above each of the `thresholds`, the mode): `removal_nll`, nats
    a token under the base, and over `place` (where the stage's own mode, given what was written, begins a word, goes on
    within one, or is punctuation) `place_nll` and `place_share` of the tokens; `removal_distinct` (share of different
    texts), `removal_grammatical` (missing without `grammatical`), and over `sample` too `removal_completion`.

    Raises `InputError` for fewer than two samples and for thresholds that are no falling probabilities.
    """
    if samples < 2 or steps < 1:
        raise InputError(f"got samples={samples} and steps={steps}; give 2 or more samples and 1 or more steps.")
    if not all(0 < each < 1 for each in thresholds) or list(thresholds) != sorted(set(thresholds), reverse=True):
        raise InputError(f"got thresholds={tuple(thresholds)}; give falling probabilities between 0 and 1.")
    rendered = chain.render(prompts, rendering)
    removals = {"none": 1.0, **{f"above {each:g}": float(each) for each in thresholds}, "mode": 0.0}
    bounds = list(removals.values())
    pieces = []
    for stage in chain.stages:
        each = [of_stage(chain, stage, rendered, bound, samples, steps, seed, grammatical) for bound in bounds]
        once = removed_once(chain, stage, rendered, bounds, Decoding(steps, temperature=1.0, seed=seed))
        pieces.append(xr.concat(each, dim="removal").assign(once_nll=(("removal", "prompt", "place"), once)))
    dataset = xr.concat(pieces, dim="stage").assign_coords(
        {**labels(chain, prompts, rendered), "stage": list(chain.names), "removal": list(removals),
         "place": list(PLACES), "sample": np.arange(samples)}
    )  # fmt: skip
    bare = with_completions(chain, rendered, [()] * len(rendered), "none")
    return with_provenance(
        describe(dataset), analysis="without_mode", samples=samples, max_new_tokens=steps, seed=seed,
        battery=prompts.source, **provenance(chain, bare),
    )  # fmt: skip


def removing(stage: Stage, bound: float) -> Change:
    """Remove the tokens of a probability above `bound`, at 0 the likeliest one, but no end tokens."""
    end = torch.tensor(sorted(stage.end_tokens), dtype=torch.long)

    def change(logits: Logits, numbers: Sequence[int]) -> Logits:
        if bound >= 1.0:
            return logits
        if bound > 0.0:
            gone = logits.softmax(dim=-1) > bound
        else:
            gone = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, logits.argmax(dim=-1, keepdim=True), True)
        gone[:, end.to(gone.device)] = False
        return logits.masked_fill(gone, -torch.inf)

    return change


def removed_once(
    chain: Chain, stage: Stage, rendered: RenderedPrompts, bounds: Sequence[float], decoding: Decoding
) -> np.ndarray:
    """Expected NLL under the base of a token drawn without likely ones, over removal, prompt and place of the mode."""
    sequences = teacher_force(chain, rendered, decoding, by=stage.name)
    number = chain.stages.index(stage)
    sums, counts = (np.zeros((len(bounds), len(rendered), len(PLACES))) for _ in range(2))
    for chunk, read in outputs(chain, sequences):
        q, base = read[number], read[0]
        mode = q.argmax(dim=-1).tolist()
        previous = [sequences.tokens[prompt][column] for prompt, column in zip(chunk.prompt, chunk.column, strict=True)]
        strings = token_strings(chain.tuned.tokenizer, mode)
        place = np.asarray([PLACES.index(place_of(*pair)) for pair in zip(previous, strings, strict=True)])
        goes_on = np.asarray([token not in stage.end_tokens for token in mode])
        for row, bound in enumerate(bounds):
            left = removing(stage, bound)(q, ()).log_softmax(dim=-1)
            expected = -divergence.expectation(left, base).cpu().double().numpy()
            np.add.at(sums[row], (chunk.prompt[goes_on], place[goes_on]), expected[goes_on])
            np.add.at(counts[row], (chunk.prompt[goes_on], place[goes_on]), 1.0)
    return np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0).astype(np.float32)


def of_stage(
    chain: Chain,
    stage: Stage,
    rendered: RenderedPrompts,
    bound: float,
    samples: int,
    steps: int,
    seed: int,
    grammatical: Judge | None,
) -> xr.Dataset:
    """One stage under one removal."""
    context = chain.alignment.context
    cells = [(prompt, sample) for prompt in range(len(rendered)) for sample in range(samples)]
    before = [rendered.token_ids[prompt] for prompt, _ in cells]
    rooms = [max(0, min(steps, context - len(ids))) for ids in before]
    jobs = [
        Job(n, ids, np.random.default_rng((seed, 4, *cell)).random(room), room)
        for n, (cell, ids, room) in enumerate(zip(cells, before, rooms, strict=True))
    ]
    notes: dict[int, list[float]] = {}
    done = dict(write_changed(stage, jobs, noting(removing(stage, bound), likeliest, notes)))
    texts = [(done[n], len(done[n]) < job.steps) for n, job in enumerate(jobs)]
    nll = -read_tempered(chain.base, before, [ids for ids, _ in texts], steps, [1.0] * len(texts))[0]
    modes = noted_table(notes, [ids for ids, _ in texts], steps)
    where = places_of(stage, chain.tuned.tokenizer, before, [ids for ids, _ in texts], modes)
    return table(chain, rendered, texts, nll, where, samples, before, grammatical)


def table(
    chain: Chain,
    rendered: RenderedPrompts,
    texts: Sequence[Written],
    nll: np.ndarray,
    where: np.ndarray,
    samples: int,
    before: Sequence[Ids],
    grammatical: Judge | None,
) -> xr.Dataset:
    """The measures of the samples of one stage and removal."""
    shape = (len(rendered), samples)
    by_prompt = nll.reshape(len(rendered), -1)
    at = where.reshape(len(rendered), -1)
    counts = np.stack([(at == place).sum(axis=1) for place in range(len(PLACES))], axis=1).astype(float)
    sums = np.stack([np.where(at == place, by_prompt, 0.0).sum(axis=1) for place in range(len(PLACES))], axis=1)
    every = np.maximum((~np.isnan(by_prompt)).sum(axis=1), 1)
    decode = chain.tuned.tokenizer.batch_decode
    strings = decode([ids for ids, _ in texts], skip_special_tokens=False, clean_up_tokenization_spaces=False)
    allowed = [
        np.nan if grammatical is None else float(grammatical(b, *text)) for b, text in zip(before, texts, strict=True)
    ]
    words = np.asarray(strings, dtype=str).reshape(shape)
    data: dict[str, Any] = {
        "removal_nll": (("prompt",), np.nansum(by_prompt, axis=1) / every),
        "place_nll": (("prompt", "place"), np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)),
        "place_share": (("prompt", "place"), counts / every[:, None]),
        "removal_distinct": (("prompt",), np.asarray([len(set(each)) / samples for each in words.tolist()])),
        "removal_grammatical": (("prompt",), np.asarray(allowed).reshape(shape).mean(axis=1)),
    }
    cells = {name: (dims, values.astype(np.float32)) for name, (dims, values) in data.items()}
    return xr.Dataset({**cells, "removal_completion": (("prompt", "sample"), words)})


def likeliest(logits: Logits, changed: Logits) -> torch.Tensor:
    """The likeliest token of every row, before likely ones are removed."""
    return logits.argmax(dim=-1)


def places_of(
    stage: Stage, tokenizer: Any, before: Sequence[Ids], written: Sequence[Ids], modes: np.ndarray
) -> np.ndarray:
    """Of every written token the index into `PLACES` of the mode there; -1 where the mode ends the text, and beyond."""
    found = np.full(modes.shape, -1)
    used = sorted({int(i) for i in modes[modes >= 0]} | {int(i) for ids in (*before, *written) for i in ids})
    strings = dict(zip(used, token_strings(tokenizer, used), strict=True))
    for row, (prompt, ids) in enumerate(zip(before, written, strict=True)):
        for step in range(len(ids)):
            mode = int(modes[row, step])
            previous = ids[step - 1] if step else (prompt[-1] if len(prompt) else None)
            if mode not in stage.end_tokens:
                found[row, step] = PLACES.index(place_of("" if previous is None else strings[previous], strings[mode]))
    return found


def place_of(previous: str, token: str) -> str:
    """Whether a token begins a word, goes on within one, or does neither, behind the token before it."""
    if not any(character.isalnum() for character in token):
        return "word-initial" if not token.strip() else "punctuation"
    inside = previous[-1:].isalnum() or previous.endswith(("'", "’"))
    return "within-word" if inside and token[:1].isalnum() else "word-initial"
