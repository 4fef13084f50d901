"""How well every stage's residuals say what stands several tokens ahead, on the same texts and at equal entropy."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr

from mcinterp.behaviour.labels import held_out_of
from mcinterp.behaviour.planning.linear import Loss, held_out_losses
from mcinterp.behaviour.planning.residuals import EMBEDDED, layer_points, residuals
from mcinterp.behaviour.planning.settings import Planning
from mcinterp.behaviour.planning.targets import ahead_names, halves, targets_of
from mcinterp.behaviour.planning.texts import WRITERS, Written, written_for
from mcinterp.capture import Point
from mcinterp.chain import Chain, Stage
from mcinterp.errors import InputError
from mcinterp.progress import Progress
from mcinterp.prompts import Prompts
from mcinterp.rendering import RenderedPrompts, token_strings
from mcinterp.results import describe, with_provenance
from mcinterp.sequences import provenance, with_completions

READERS = ("base", "stage")
LOSSES = ("probe_loss", "shuffled_loss")
BASELINES = ("embedding_loss", "class_loss")


class Asked(NamedTuple):
    """Every place of one writer's texts: columns of each text, and a prompt, targets, half and part a row."""

    columns: list[list[int]]
    prompts: np.ndarray
    targets: np.ndarray
    folds: np.ndarray
    apart: np.ndarray


def probes(chain: Chain, prompts: Prompts, settings: Planning) -> xr.Dataset:
    """Held-out log loss of linear probes for the tokens ahead.

    Every `stage` is read beside the base: `reader` is the stage or the base, `writer` whose texts both read, the
    stage's, the base's, or the base's at the temperature where it is as sure as the stage. A probe is trained on half
    of the templates and read on the other half.

    Over `stage, reader, writer, prompt, ahead`, in nats and as means over the places of a prompt (`target_count`):
    `class_loss` by the shares of the targets alone, `embedding_loss` by a probe of the reader's token embedding at the
    same place, and over `layer` too `probe_loss`, and `shuffled_loss` after training labels were permuted. Over
    `stage, writer, prompt`: `writer_entropy` and `writer_temperature`.

    Raises `InputError` for prompts of a single template, which leave nothing to hold out.
    """
    rendered = chain.render(prompts)
    if len(set(rendered.templates)) < 2:
        raise InputError("got prompts of one template; give two or more, so that a probe can be read on another one.")
    genres = [str(prompt.metadata.get("genre", prompt.template)) for prompt in prompts.items]
    folds, apart = halves(rendered.templates, genres)
    layers = settings.chosen_layers(chain.base.n_layers)
    texts = written_for(chain, rendered, settings)
    shape = (len(chain.stages), len(READERS), len(WRITERS), len(rendered), len(settings.ahead) + 1)
    tables = {name: np.full((*shape, len(layers)), np.nan, dtype=np.float32) for name in LOSSES}
    tables |= {name: np.full(shape, np.nan, dtype=np.float32) for name in (*BASELINES, "target_count")}
    for written, cells in Progress(read_by(chain, texts), desc="probes", unit="writer"):
        readers = list(dict.fromkeys(name for name, _ in cells))
        asked = places_of(chain, rendered, written, folds, apart, settings)
        found = read([chain.stage(name) for name in readers], written.ids, asked, layers, len(rendered), settings)
        for name, cell in cells:
            for each, value in found[readers.index(name)].items():
                tables[each][cell] = value
    return labelled(chain, rendered, prompts, texts, tables, layers, settings)


Cell = tuple[int, int, int]


def read_by(chain: Chain, texts: dict[str, dict[str, Written]]) -> list[tuple[Written, list[tuple[str, Cell]]]]:
    """All different texts, each with the stages that read it and the cells (stage, reader, writer) that this fills."""
    found: dict[int, tuple[Written, list[tuple[str, Cell]]]] = {}
    for s, stage in enumerate(chain.names):
        for w, writer in enumerate(WRITERS):
            written = texts[stage][writer]
            cells = found.setdefault(id(written), (written, []))[1]
            cells.extend((name, (s, r, w)) for r, name in enumerate((chain.base.name, stage)))
    return list(found.values())


def places_of(
    chain: Chain,
    rendered: RenderedPrompts,
    written: Written,
    folds: np.ndarray,
    apart: np.ndarray,
    settings: Planning,
) -> Asked:
    """The places of one writer's texts that have a target."""
    columns, rows, targets = [], [], []
    for ids, owner in zip(written.ids, written.owners, strict=True):
        start = len(rendered.token_ids[owner])
        found = targets_of(start, ids, token_strings(chain.tuned.tokenizer, ids), settings.ahead)
        there = np.flatnonzero((found >= 0).any(axis=1))
        columns.append((there + start - 1).tolist())
        rows.append(np.full(len(there), owner))
        targets.append(found[there])
    owners = np.concatenate(rows)
    return Asked(columns, owners, np.concatenate(targets), folds[owners], apart[owners])


def read(
    readers: Sequence[Stage],
    texts: Sequence[Sequence[int]],
    asked: Asked,
    layers: Sequence[int],
    count: int,
    settings: Planning,
) -> list[dict[str, np.ndarray]]:
    """All losses of every reader on one writer's texts, as means over the places of a prompt."""
    points = layer_points(layers)
    rows = [residuals(reader, texts, asked.columns, [EMBEDDED, *points]) for reader in readers]
    found: list[dict[str, list]] = [{name: [] for name in (*LOSSES, *BASELINES, "target_count")} for _ in readers]
    for target in asked.targets.T:
        at = {point: losses_at(rows, point, target, asked, settings, None) for point in (EMBEDDED, *points)}
        permuted = {point: losses_at(rows, point, target, asked, settings, settings.seed) for point in points}
        there = ~np.isnan(at[EMBEDDED][0].probe)
        for r, mine in enumerate(found):
            mine["embedding_loss"].append(by_prompt(at[EMBEDDED][r].probe, asked.prompts, count))
            mine["class_loss"].append(by_prompt(at[EMBEDDED][r].prior, asked.prompts, count))
            mine["target_count"].append(np.bincount(asked.prompts[there], minlength=count).astype(float))
            for name, losses in zip(LOSSES, (at, permuted), strict=True):
                each = [by_prompt(losses[point][r].probe, asked.prompts, count) for point in points]
                mine[name].append(np.stack(each, axis=-1))
    return [{name: np.stack(values, axis=1) for name, values in mine.items()} for mine in found]


def losses_at(
    rows: Sequence[dict[Point, torch.Tensor]],
    point: Point,
    target: np.ndarray,
    asked: Asked,
    settings: Planning,
    shuffled: int | None,
) -> list[Loss]:
    """The held-out losses of all readers at one point."""
    at = [each[point] for each in rows]
    return held_out_losses(at, target, asked.folds, asked.apart, settings.classes, shuffled=shuffled)


def by_prompt(loss: np.ndarray, prompts: np.ndarray, count: int) -> np.ndarray:
    """Mean loss over the places of every prompt; missing where it has none."""
    there = ~np.isnan(loss)
    totals = np.bincount(prompts[there], weights=loss[there], minlength=count)
    counts = np.bincount(prompts[there], minlength=count)
    return np.divide(totals, counts, out=np.full(count, np.nan), where=counts > 0)


def labelled(
    chain: Chain,
    rendered: RenderedPrompts,
    prompts: Prompts,
    texts: dict[str, dict[str, Written]],
    tables: dict[str, np.ndarray],
    layers: Sequence[int],
    settings: Planning,
) -> xr.Dataset:
    """The tables as a dataset."""
    dims = ("stage", "reader", "writer", "prompt", "ahead", "layer")
    data = {name: (dims[: value.ndim], value) for name, value in tables.items()}
    each = [str(number) for number in range(len(rendered))]
    grid = [[texts[stage][writer] for writer in WRITERS] for stage in chain.names]
    entropies = np.asarray([[written.entropy(each) for written in row] for row in grid], dtype=np.float32)
    temperatures = np.asarray([[written.temperature for written in row] for row in grid], dtype=np.float32)
    data["writer_entropy"] = (("stage", "writer", "prompt"), entropies)
    data["writer_temperature"] = (("stage", "writer", "prompt"), temperatures)
    dataset = xr.Dataset(data).assign_coords(
        stage=list(chain.names),
        reader=list(READERS),
        writer=list(WRITERS),
        prompt=np.arange(len(rendered)),
        ahead=ahead_names(settings.ahead),
        layer=list(layers),
        text=("prompt", list(rendered.texts)),
        template=("prompt", list(rendered.templates)),
        genre=("prompt", [str(item.metadata.get("genre", item.template)) for item in prompts.items]),
        held_out=("prompt", held_out_of(prompts, rendered)),
    )
    bare = with_completions(chain, rendered, [()] * len(rendered), "none")
    how = {name: getattr(settings, name) for name in ("samples", "steps", "classes", "seed")}
    return with_provenance(describe(dataset), analysis="planning_probe", **how, **provenance(chain, bare))
