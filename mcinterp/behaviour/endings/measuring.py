"""Endings: how open is the outcome of a story, at its start and at every later place where it is branched?

From the post "Mysteries of mode collapse": after a greentext's opening the tuned model let "anon" leave nearly always,
also when it was branched late; collapse was strongest on odd prompts. Every stage goes on from the same beginnings (a
story of the base) and from beginnings of its own, whose mean loss of entropy is what a beginning tells of the outcome.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
import xarray as xr

from mcinterp.behaviour.endings import measures
from mcinterp.behaviour.endings.outcomes import Outcomes, outcomes_of
from mcinterp.behaviour.endings.places import Branched, Place
from mcinterp.behaviour.endings.reading import exact_tallies, stories, tallies, text_of
from mcinterp.behaviour.labels import prompt_labels
from mcinterp.behaviour.temperature_curves.reading import read_tempered
from mcinterp.chain import Chain, Stage
from mcinterp.prompts import Prompts
from mcinterp.rendering import RenderedPrompts
from mcinterp.results import describe, with_provenance
from mcinterp.sequences import provenance, with_completions

CELL = ("path", "prompt", "branch")
PATHS = ("base", "own")
DEFAULT = Branched()
Walks = list[list[Place]]


def endings(
    chain: Chain, prompts: Prompts, settings: Branched = DEFAULT, *, rendering: Literal["raw", "chat"] = "raw"
) -> xr.Dataset:
    """How every stage's stories end when they are branched along the base's story and one of the stage's own.

    Over `stage, path, prompt, branch` (path `base` or `own`; branch is a number of sentences, lines or tokens):
    `outcome_share` over `outcome` (with `outcome_name` of each prompt), `other_share`, `unfinished_share`, which sum to
    1; of texts that ended one way or another `outcome_entropy` (nats, Miller and Madow's), `outcome_information`
    (nats; the mean over prompts on the path `own` is I(beginning; outcome)), `outcome_collision` (two texts end alike,
    unbiased) and `favourite_outcome_share`; `outcome_exact`, 1 where a tree gave the probabilities of outcomes instead
    of samples; `story_tokens` and `story_whole`. Over `stage, prompt` `rare_outcomes`, the number of different outcomes
    that are rare in the base; over `stage, path, prompt` the `story`. Prompts carry `base_surprise`, the base's mean
    NLL of their tokens: how far out of its distribution they are.

    Raises `InputError` for prompts without `outcomes` and settings that cannot be used.
    """
    wanted = outcomes_of(prompts)
    rendered = chain.render(prompts, rendering)
    asked = [wanted[index] for index in rendered.prompt_index]
    shared = stories(chain, chain.base, rendered, settings)
    late = [place for walk in shared for place, kept in zip(walk, settings.kept, strict=True)
            if kept >= settings.exact_from]  # fmt: skip
    exact = exact_tallies(chain, rendered, asked, late, settings)
    pieces = [of_stage(chain, stage, rendered, asked, shared, exact, settings) for stage in chain.stages]
    dataset = xr.concat(pieces, dim="stage").assign_coords(labels(chain, prompts, rendered, asked, settings))
    dataset["base_surprise"] = ("prompt", surprise(chain, rendered))
    dataset["rare_outcomes"] = ("stage", "prompt"), rare(dataset).astype(np.float32)
    bare = with_completions(chain, rendered, [()] * len(rendered), "none")
    return with_provenance(
        describe(dataset), analysis="endings", battery=prompts.source, **asdict(settings), **provenance(chain, bare)
    )


def of_stage(
    chain: Chain,
    stage: Stage,
    rendered: RenderedPrompts,
    asked: Sequence[Outcomes],
    shared: Walks,
    exact: dict[Place, np.ndarray],
    settings: Branched,
) -> xr.Dataset:
    """The outcomes of one stage at every place of both paths."""
    own = shared if stage is chain.base else stories(chain, stage, rendered, settings)
    walks = {"base": shared, "own": own}
    read = {"base": {place: values[chain.stages.index(stage)] for place, values in exact.items()}, "own": {}}
    cells = {path: [place for walk in walk_of for place in walk] for path, walk_of in walks.items()}
    needed = [place for path in PATHS for place in cells[path] if place not in read[path]]
    sampled = tallies(chain, stage, rendered, asked, needed, settings)
    shape = (len(PATHS), len(rendered), len(settings.kept))
    counts = np.stack([read[path].get(place, sampled.get(place))
                       for path in PATHS for place in cells[path]])  # fmt: skip
    known = np.asarray([place in read[path] or place.whole for path in PATHS for place in cells[path]])
    data = of_counts(counts.reshape(*shape, -1), known.reshape(shape))
    flat = [place for path in PATHS for place in cells[path]]
    data |= {
        "story_tokens": np.asarray([place.kept for place in flat]).reshape(shape),
        "story_whole": np.asarray([place.whole for place in flat]).reshape(shape),
    }
    variables: dict[str, Any] = {
        name: ((*CELL, "outcome")[: values.ndim], values.astype(np.float32)) for name, values in data.items()
    }
    said = [
        [text_of(chain, walk[-1].ids[len(ids) :]) for walk, ids in zip(walks[path], rendered.token_ids, strict=True)]
        for path in PATHS
    ]
    return xr.Dataset(variables | {"story": (CELL[:2], np.asarray(said, dtype=str))})


def of_counts(counts: np.ndarray, known: np.ndarray) -> dict[str, np.ndarray]:
    """What is said of counts over path, prompt, branch and column: the outcomes, another one, unfinished."""
    split, finished = measures.shares(counts), counts[..., :-1]
    entropy = measures.entropy(finished, known)
    return {
        "outcome_share": split[..., :-2],
        "other_share": split[..., -2],
        "unfinished_share": split[..., -1],
        "outcome_entropy": entropy,
        "outcome_information": measures.information(entropy),
        "outcome_collision": measures.collision(finished, known),
        "favourite_outcome_share": measures.shares(finished).max(axis=-1),
        "outcome_exact": known,
    }


def labels(
    chain: Chain, prompts: Prompts, rendered: RenderedPrompts, asked: Sequence[Outcomes], settings: Branched
) -> dict[str, Any]:
    """Names of everything, and what the battery says of every prompt."""
    most = max(len(each.names) for each in asked)
    return {
        "stage": list(chain.names),
        "path": list(PATHS),
        "branch": list(settings.kept),
        "outcome_name": (("prompt", "outcome"), [[*each.names, *[""] * (most - len(each.names))] for each in asked]),
        **prompt_labels(prompts, rendered),
    }


def rare(dataset: xr.Dataset) -> np.ndarray:
    """How many outcomes rare in the base there are, over stage and prompt, at the start of the story, by genre.

    Of texts that ended one way or another.
    """
    start = dataset.sel(path="own").isel(branch=0)
    ended = 1.0 - start["unfinished_share"]
    share = (start["outcome_share"] / ended.where(ended > 0)).transpose("stage", "prompt", "outcome").values
    genres, names = dataset["genre"].values, dataset["outcome_name"].values
    found = np.full(share.shape[:2], np.nan)
    kinds = [(genre, *row) for genre, row in zip(genres.tolist(), names.tolist(), strict=True)]
    for kind in dict.fromkeys(kinds):
        own = np.flatnonzero([each == kind for each in kinds])
        found[:, own] = measures.rare_seen(share[:, own].astype(float), share[0, own].astype(float))
    return found


def surprise(chain: Chain, rendered: RenderedPrompts) -> np.ndarray:
    """The base's mean NLL of the tokens of every prompt behind its first, in nats; missing for a single token."""
    first, others = [ids[:1] for ids in rendered.token_ids], [ids[1:] for ids in rendered.token_ids]
    log_probs, _ = read_tempered(chain.base, first, others, rendered.longest, [1.0] * len(others))
    count = (~np.isnan(log_probs)).sum(axis=1)
    mean = np.divide(np.nansum(log_probs, axis=1), count, out=np.full(len(count), np.nan), where=count > 0)
    return (-mean).astype(np.float32)
