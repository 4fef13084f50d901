"""Draws after earlier draws: does a stage repeat or avoid the last value, and does the next depend on it?

The question is asked again behind its own answer (`again` in the battery). The earlier values are drawn either
uniformly, the same for all stages, or by each stage from its own exact distribution; the next one's distribution is
exact in both cases.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from mcinterp.behaviour.randomness import measures
from mcinterp.behaviour.randomness.draws import DrawnBy, labels, render_once, value_names, value_table
from mcinterp.behaviour.randomness.support import Question, questions
from mcinterp.chain import Chain, Stage
from mcinterp.errors import InputError
from mcinterp.prompts import Prompt, Prompts
from mcinterp.rendering import Rendering
from mcinterp.results import describe, provenance_of, with_provenance
from mcinterp.sequences import provenance, with_completions

DIMS = ("stage", "prompt", "sample", "step")


@dataclass(frozen=True)
class Context:
    """A prompt with some values drawn already: which prompt and sample it belongs to, and its random numbers."""

    prompt: int
    sample: int
    item: Prompt
    uniforms: np.ndarray


def earlier_draws(
    chain: Chain,
    prompts: Prompts,
    *,
    rendering: Rendering = "raw",
    samples: int = 4,
    earlier: int = 1,
    drawn_by: DrawnBy = "uniform",
    seed: int = 0,
) -> xr.Dataset:
    """The exact distribution of the next draw after 1, ..., `earlier` draws, for prompts that say how to ask again.

    Over `stage, prompt, sample, step` (step: how many values stand before): `earlier_value` (the last of them),
    `repeat_share` (share of it in the next draw), `repeat_share_alone` (its share with nothing before it, by the same
    stage), `repeat_any_share` (of all earlier values together), `next_entropy_share` (H / log N), and for numbers
    `earlier_number`, `next_mean` and `next_variance`, from which `randomness_measures.autocorrelation` follows. A
    fair draw repeats with 1 / `support_size`. Prompts without `again` are left out; `prompt` keeps their numbers.

    Raises `InputError` where no prompt has `again`, for no samples or steps, and as `randomness` does.
    """
    check(samples, earlier, drawn_by)
    every = questions(prompts)
    kept = [index for index, each in enumerate(every) if each.again is not None]
    if not kept:
        raise InputError(f"{prompts.source}: no prompt says how to ask again; write `again` beside its text.")
    chosen, asked = prompts.select(kept), [every[index] for index in kept]
    rendered = render_once(chain, chosen, rendering)
    groups = [chain.stages] if drawn_by == "uniform" else [(stage,) for stage in chain.stages]
    start = contexts(chosen, samples, earlier, seed)
    pieces = [follow(chain, group, chosen, asked, start, rendering, earlier, drawn_by) for group in groups]
    dataset = xr.concat(pieces, dim="stage").assign_coords(
        {**labels(rendered, asked), "prompt": kept, "sample": np.arange(samples)}
    )
    bare = with_completions(chain, rendered, [()] * len(kept), "none")
    return with_provenance(
        describe(dataset), analysis="earlier_draws", drawn_by=drawn_by, seed=seed, rendering=rendering,
        battery=prompts.source, **provenance(chain, bare),
    )  # fmt: skip


def check(samples: int, earlier: int, drawn_by: str) -> None:
    """Refuse settings that cannot be used."""
    if samples < 1 or earlier < 1:
        raise InputError(f"got samples={samples} and earlier={earlier}; give 1 or more of each.")
    if drawn_by not in ("uniform", "own"):
        raise InputError(f"got drawn_by={drawn_by!r}; give 'uniform' or 'own'.")


def contexts(prompts: Prompts, samples: int, earlier: int, seed: int) -> list[Context]:
    """Every prompt `samples` times, each with random numbers of its own."""
    return [
        Context(index, sample, item, np.random.default_rng((seed, sample, index)).random(earlier))
        for index, item in enumerate(prompts.items)
        for sample in range(samples)
    ]


def follow(
    chain: Chain,
    stages: Sequence[Stage],
    prompts: Prompts,
    asked: Sequence[Question],
    start: Sequence[Context],
    rendering: Rendering,
    earlier: int,
    drawn_by: DrawnBy,
) -> xr.Dataset:
    """The histories of some stages step by step: draw a value, ask again, read the next distribution."""
    names = value_names(asked)
    mine = [asked[context.prompt] for context in start]
    rendered = chain.render(prompts, rendering)
    alone = measures.conditional(value_table(chain, stages, rendered, asked, names, "first draws")).shares
    alone = alone[:, [context.prompt for context in start]]
    now, items, seen = alone, [context.item for context in start], []
    steps = []
    for step in range(earlier):
        uniforms = np.asarray([context.uniforms[step] for context in start])
        seen.append(drawn(now[0] if drawn_by == "own" else measures.uniform(now[0]), uniforms))
        values = [names[value] for value in seen[-1]]
        items = [each.answered(item, value) for each, item, value in zip(mine, items, values, strict=True)]
        again = chain.render(Prompts(tuple(items)), rendering)
        now = measures.conditional(value_table(chain, stages, again, mine, names, "later draws")).shares
        steps.append(read_step(now, alone, np.stack(seen), names))
    shape = (len(stages), len(asked), len(start) // len(asked))
    data = {name: (DIMS, np.stack([each[name].reshape(shape) for each in steps], axis=-1)) for name in steps[0]}
    return xr.Dataset(data, coords={"stage": [stage.name for stage in stages], "step": np.arange(1, earlier + 1)})


def drawn(shares: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
    """The value at a uniform number of each cumulative distribution: one index a row."""
    cumulative = np.nan_to_num(shares).cumsum(axis=-1)
    return (cumulative <= (uniforms * cumulative[:, -1])[:, None]).sum(axis=-1)


def read_step(now: np.ndarray, alone: np.ndarray, seen: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The measures of one step over stage and context, from shares and the values drawn so far (step, context)."""
    rows, last = np.arange(seen.shape[1]), seen[-1]
    distinct = np.zeros(now.shape[1:], dtype=bool)
    distinct[np.broadcast_to(rows, seen.shape), seen] = True
    numbers = np.asarray([float(name) if name.isdecimal() else np.nan for name in names])
    mean = np.where(np.isnan(now), 0.0, now * np.nan_to_num(numbers)).sum(axis=-1)
    square = np.where(np.isnan(now), 0.0, now * np.nan_to_num(numbers) ** 2).sum(axis=-1)
    words = np.isnan(numbers[last])
    found = {
        "repeat_share": now[:, rows, last],
        "repeat_share_alone": alone[:, rows, last],
        "repeat_any_share": np.where(distinct, now, 0.0).sum(axis=-1),
        "next_entropy_share": measures.entropy_share(now),
        "earlier_number": np.broadcast_to(numbers[last], mean.shape),
        "next_mean": np.where(words, np.nan, mean),
        "next_variance": np.where(words, np.nan, np.maximum(square - mean**2, 0.0)),
    }
    kept = {name: value.astype(np.float32) for name, value in found.items()}
    return {**kept, "earlier_value": np.broadcast_to(np.asarray(names, dtype=str)[last], mean.shape)}


def with_earlier_draws(dataset: xr.Dataset, history: xr.Dataset) -> xr.Dataset:
    """The dataset of `randomness` with the variables of `earlier_draws` beside it, missing where none were made."""
    whole = history.reindex(
        prompt=dataset["prompt"].values, fill_value={**dict.fromkeys(history, np.nan), "earlier_value": ""}
    )
    record = {**provenance_of(dataset), "earlier_draws": provenance_of(history)}
    joined = dataset.assign({str(name): whole[name].variable for name in history.data_vars})
    joined = joined.assign_coords(sample=history["sample"].values, step=history["step"].values)
    return with_provenance(joined, **record)
