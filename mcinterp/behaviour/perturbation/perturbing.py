"""Attractors: does a completion that is disturbed come back to where it went, and how sure is the stage meanwhile?

From the post "Mysteries of mode collapse": edited completions of the tuned model converged word for word on the same
last sentence, those of the base did not, even at low temperature, and trajectories that escaped stayed confident.
Convergence at temperature 0 alone says little (a model that has not collapsed converges too), so that every figure is
read greedily, at temperature 1, and, as the decisive control, from the base at the temperature where it is as sure as
the stage. A loop looks like an attractor and is marked; so is the end of the text.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, Literal

import numpy as np
import xarray as xr

from mcinterp.behaviour.labels import prompt_labels
from mcinterp.behaviour.perturbation import measures
from mcinterp.behaviour.perturbation.cells import (
    Cell,
    Owner,
    Unedited,
    by_return,
    cells_of,
    compare,
    completions,
    elsewhere,
    text_of,
    unedited_ending,
    write_cells,
)
from mcinterp.behaviour.perturbation.edits import DEFAULT, Perturbing
from mcinterp.behaviour.perturbation.writing import Curves, Writer, matched_writer, mean_entropy, own_curves
from mcinterp.chain import Chain, Stage
from mcinterp.prompts import Prompts
from mcinterp.rendering import RenderedPrompts
from mcinterp.results import describe, with_provenance
from mcinterp.sequences import provenance, with_completions

DECODINGS = ("greedy", "sampled", "matched")
CELL = ("prompt", "depth", "edit", "sample")
UNEDITED = ("prompt", "sample")
Tokens = tuple[int, ...]


def perturbation(
    chain: Chain, prompts: Prompts, settings: Perturbing = DEFAULT, *, rendering: Literal["raw", "chat"] = "raw"
) -> xr.Dataset:
    """Disturb what every stage writes, let it go on, and compare with what it had written undisturbed.

    Over `stage, decoding, prompt, depth, edit, sample` (`decoding`: greedy; sampled at temperature 1; matched, the base
    at the `temperature` where its mean entropy is the stage's. `edit`: `none` is the no-op, written on anew; greedy
    texts have one sample): `same_ending`, `returned`, `return_step`, `entropy_outside` and `entropy_inside` the basin,
    `ending` (text), `is_loop`, `ended`, `edited_at`; and over `step` (tokens behind the edit) `distance`,
    `edit_distance`, `distance_elsewhere` (from the unedited text of another prompt: chance, or one attractor for all)
    and `entropy`. Over `stage, decoding, prompt`: `n_endings` and `effective_endings` among `n_perturbed` disturbed
    texts; over `sample` too the unedited `completion`, `unedited_ending`, `unedited_entropy`, `unedited_ended`.

    Raises `InputError` for settings that cannot be used and prompts that do not fit the context.
    """
    rendered = chain.render(prompts, rendering)
    alone = Writer(chain.base, np.ones(len(rendered)), chain.alignment.context)
    own = own_curves(alone, *starts(rendered, settings), settings.steps)
    runs = [stage_runs(chain, stage, rendered, settings, own) for stage in chain.stages]
    dataset = xr.concat(runs, dim="stage").assign_coords(labels(chain, prompts, rendered, settings))
    bare = with_completions(chain, rendered, [()] * len(rendered), "none")
    how = {name: value for name, value in asdict(settings).items() if name not in ("edits", "depths")}
    return with_provenance(
        describe(dataset), analysis="perturbation", rendering=rendering, battery=prompts.source, **how,
        **provenance(chain, bare),
    )  # fmt: skip


def labels(chain: Chain, prompts: Prompts, rendered: RenderedPrompts, settings: Perturbing) -> dict[str, Any]:
    """Names of everything, and what the battery says of every prompt."""
    return {
        "stage": list(chain.names),
        "decoding": list(DECODINGS),
        "depth": list(settings.depths),
        "edit": [edit.name for edit in settings.all_edits],
        "sample": np.arange(settings.samples),
        "step": np.arange(1, settings.steps + 1),
        **prompt_labels(prompts, rendered),
    }


def stage_runs(chain: Chain, stage: Stage, rendered: RenderedPrompts, settings: Perturbing, own: Curves) -> xr.Dataset:
    """One stage under the three decodings; the base matches itself at temperature 1."""
    context, count = chain.alignment.context, len(rendered)
    greedy = Writer(stage, np.zeros(count), context)
    sampled = Writer(stage, np.ones(count), context)
    runs = [follow(chain, greedy, rendered, settings), follow(chain, sampled, rendered, settings)]
    matched = runs[1]
    if stage is not chain.base:
        matched = follow(chain, matched_base(chain, sampled, rendered, settings, own), rendered, settings)
    return xr.concat([*runs, matched], dim="decoding", join="outer", fill_value=missing(runs[1]))


def missing(run: xr.Dataset) -> dict[str, Any]:
    """What stands where a greedy text has no further sample."""
    return {str(name): "" if run[name].dtype.kind in "UO" else np.nan for name in run.data_vars}


def matched_base(chain: Chain, sampled: Writer, rendered: RenderedPrompts, settings: Perturbing, own: Curves) -> Writer:
    """The base at the temperatures where it is as sure as a stage is at temperature 1, each along its own texts."""
    groups = list(rendered.templates) if settings.match_by == "template" else ["all"] * len(rendered)
    before, prompts, streams = starts(rendered, settings)
    target = mean_entropy(sampled.write_and_read(before, prompts, streams, settings.steps)[1], prompts, groups)
    base = replace(sampled, stage=chain.base)
    return matched_writer(base, target, groups, before, prompts, streams, settings.steps, own)


def starts(rendered: RenderedPrompts, settings: Perturbing) -> tuple[list[Tokens], list[int], list[Tokens]]:
    """Where every unedited text begins: its prompt's tokens, that prompt's number, and its stream of random numbers."""
    owners = owners_of(rendered, settings.samples)
    before, prompts = [rendered.token_ids[owner.prompt] for owner in owners], [owner.prompt for owner in owners]
    return before, prompts, [(settings.seed, 0, *owner) for owner in owners]


def owners_of(rendered: RenderedPrompts, samples: int) -> list[Owner]:
    """Every prompt with every sample."""
    return [Owner(prompt, sample) for prompt in range(len(rendered)) for sample in range(samples)]


def follow(chain: Chain, writer: Writer, rendered: RenderedPrompts, settings: Perturbing) -> xr.Dataset:
    """The unedited texts of one writer, all edits of them, and every measure, over prompt and what lies within."""
    samples = 1 if writer.greedy else settings.samples
    unedited = undisturbed(chain, writer, rendered, settings, samples)
    cells = cells_of(unedited, settings.all_edits, settings.depths, settings.steps)
    texts, entropy = write_cells(writer, unedited, cells, settings.steps, settings.seed)
    others = elsewhere(unedited, cells, rendered.templates)
    found = compare(unedited, cells, texts, others, settings.steps, settings.window, settings.least)
    found["entropy"] = entropy
    for name, before in (("entropy_outside", True), ("entropy_inside", False)):
        found[name] = by_return(entropy, found["return_step"], before=before)
    shape = (len(rendered), len(settings.depths), len(settings.all_edits), samples)
    places = tuple(np.asarray([(unedited.owners[c.number].prompt, c.depth, c.edit, unedited.owners[c.number].sample)
                               for c in cells]).reshape(-1, 4).T)  # fmt: skip
    dataset = xr.Dataset({name: spread(values, places, shape) for name, values in found.items()})
    dataset = dataset.assign(basins(unedited, cells, found, len(rendered)))
    whole = {name: (UNEDITED, values) for name, values in of_unedited(unedited, (len(rendered), samples)).items()}
    return dataset.assign(whole).assign_coords(
        sample=np.arange(samples), temperature=("prompt", writer.temperatures.astype(np.float32))
    )


def undisturbed(
    chain: Chain, writer: Writer, rendered: RenderedPrompts, settings: Perturbing, samples: int
) -> Unedited:
    """The unedited texts of one writer."""
    owners = owners_of(rendered, samples)
    before, prompts = [rendered.token_ids[owner.prompt] for owner in owners], [owner.prompt for owner in owners]
    steps = 2 * settings.steps
    streams = [(settings.seed, 0, *owner) for owner in owners]
    texts, entropies = writer.write_and_read(before, prompts, streams, steps)
    seen = completions(chain.base, chain.tuned.tokenizer, before, texts, settings.plausible)
    return Unedited(tuple(owners), tuple(texts), entropies, seen)


def spread(values: np.ndarray, places: tuple[np.ndarray, ...], shape: tuple[int, ...]) -> tuple[Sequence[str], Any]:
    """Values of cells as an array over prompt, depth, edit, sample (and step); missing where no edit was made."""
    dims = (*CELL, "step")[: 4 + values.ndim - 1]
    if values.dtype.kind == "U":
        table = np.full(shape, "", dtype=object)
        table[places] = values
        return dims, table.astype(str)
    table = np.full((*shape, *values.shape[1:]), np.nan, dtype=np.float32)
    table[places] = values
    return dims, table


def basins(unedited: Unedited, cells: Sequence[Cell], found: dict[str, np.ndarray], prompts: int) -> dict[str, Any]:
    """How many different last sentences the disturbed texts of every prompt end with."""
    counts = np.full((3, prompts), np.nan, dtype=np.float32)
    for prompt in range(prompts):
        mine = [n for n, cell in enumerate(cells) if cell.edit and unedited.owners[cell.number].prompt == prompt]
        endings = [
            str(found["ending"][n]) for n in mine if found["ending"][n] and not np.isnan(found["same_ending"][n])
        ]
        counts[:, prompt] = len(endings), len(set(endings)) or np.nan, measures.effective_number(endings)
    names = ("n_perturbed", "n_endings", "effective_endings")
    return {name: ("prompt", values) for name, values in zip(names, counts, strict=True)}


def of_unedited(unedited: Unedited, shape: tuple[int, int]) -> dict[str, np.ndarray]:
    """What the unedited texts are, over prompt and sample."""
    numbers = range(len(unedited.owners))
    count = (~np.isnan(unedited.entropies)).sum(axis=1)
    mean = np.divide(np.nansum(unedited.entropies, axis=1), count, out=np.full(len(count), np.nan), where=count > 0)
    values: dict[str, Any] = {
        "completion": [text_of(unedited.completions[n], unedited.texts[n].ids) for n in numbers],
        "unedited_ending": [unedited_ending(unedited, n) for n in numbers],
        "unedited_entropy": mean.astype(np.float32),
        "unedited_ended": np.asarray([text.ended for text in unedited.texts], dtype=np.float32),
    }
    return {name: np.asarray(each).reshape(shape) for name, each in values.items()}
