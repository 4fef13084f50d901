"""Whether tuning brings more planning: what a probe gains over the base's on the same texts, and what a patch moves."""

from typing import Any

import numpy as np
import xarray as xr

from mcinterp.results import provenance_of
from mcinterp.statistics import Interval, bootstrap
from mcinterp.summary.behaviour.lines import interval, table

NATS_A_BIT = float(np.log(2.0))
PROBE, SHUFFLED, EMBEDDING, CLASSES, COUNT = range(5)
LOSSES = ("probe_loss", "shuffled_loss", "embedding_loss", "class_loss")
FAR = "2 or more"
NEXT, FURTHER = "the next token", "further ahead"


def summary(dataset: xr.Dataset, *, draws: int = 1000) -> dict[str, Any]:
    """Figures with 95 % intervals over templates (`mean`, `ci_low`, `ci_high`).

    `probes`, one entry a group of prompts (all, held out, each genre), stage, writer and target: `by_base` and
    `by_stage` are the shares of log loss that a probe of that reader takes off its embedding's at `layer`, the same for
    both (where their mean over all prompts is largest); `gain` is stage - base, `base_bits` and `stage_bits` the same
    in bits a target, `left` the bits that the base's embedding leaves, `shuffled` the share of a probe of permuted
    targets, against the shares of the classes. `2 or more` are all targets but the next token together, each at its
    layer. `curves` hold the shares of all prompts by layer.

    `patches`, one entry a stage and reach (`the next token` or `further ahead`): `gap` (nats), `full` and `noop` and,
    by layer, `effect` and `random` as shares of the gap, `of_full` as shares of what all layers do together, and `gain`
    of `full` over the base's. `swaps` hold the same of the other stage's residuals, in nats.
    """
    probed = probe_values(dataset)
    layers = best_layers(probed)
    groups = prompt_groups(dataset)
    return {
        "stages": dataset["stage"].values.tolist(),
        "layers": dataset["layer"].values.tolist(),
        "n_prompts": dataset.sizes["prompt"],
        "classes": provenance_of(dataset).get("planning_probe", {}).get("classes"),
        "texts": text_entries(dataset, draws),
        "probes": [
            entry
            for name, kept in groups.items()
            for entry in probe_entries(dataset, probed, layers, name, kept, draws)
        ],
        "curves": curve_entries(dataset, probed, draws),
        "patches": patch_entries(dataset, draws),
        "swaps": swap_entries(dataset, draws),
    }


def headline(found: dict[str, Any]) -> str:
    """What the stage's probe gains over the base's on the texts of every writer, and what patches at one place move."""
    return "\n\n".join((probe_lines(found), patch_lines(found), swap_lines(found)))


def probe_lines(found: dict[str, Any]) -> str:
    """One row a stage and writer: shares of the base's probe, and what the stage's gains, by target."""
    listed = [p for p in found["probes"] if p["prompts"] == "all" and p["stage"] != found["stages"][0]]
    targets = list(dict.fromkeys(p["ahead"] for p in listed))
    cells = {(p["stage"], p["writer"], p["ahead"]): p for p in listed}
    entropy = {(t["stage"], t["writer"]): t["entropy"]["mean"] for t in found["texts"]}
    rows = []
    for stage, writer in dict.fromkeys((p["stage"], p["writer"]) for p in listed):
        each = [cells[stage, writer, target] for target in targets if (stage, writer, target) in cells]
        figures = [f"{p['by_base']['mean']:.3f}, {interval(p['gain'], 3)}" for p in each]
        rows.append([stage, writer, f"{entropy[stage, writer]:.3f}", *figures])
    head = ("stage", "texts of", "H a token (nats)", *(f"{target} ahead: base's share, gain" for target in targets))
    return table(head, rows)


def patch_lines(found: dict[str, Any]) -> str:
    """One row a stage and reach."""
    rows = []
    for p in found["patches"]:
        best = max(layer["effect"]["mean"] for layer in p["by_layer"])
        figures = (interval(p["gap"], 1), interval(p["full"], 3), interval(p["gain"], 3), f"{best:.3f}")
        rows.append([p["stage"], p["reach"], p["n_prompts"], *figures, f"{p['noop']:.1g}"])
    return table(("stage", "planned", "n", "gap (nats)", "one place / gap", "minus base", "best layer", "no-op"), rows)


def swap_lines(found: dict[str, Any]) -> str:
    """One row a direction and reach."""
    rows = [
        [s["direction"], s["reach"], interval(s["gap"]), interval(s["full"]), f"{s['noop']:.1g}"]
        for s in found["swaps"]
    ]
    return table(("other stage's residual", "planned", "gap (nats)", "one place (nats)", "no-op"), rows)


def prompt_groups(dataset: xr.Dataset) -> dict[str, np.ndarray]:
    """All prompts, those held out, and those of every genre."""
    genres, held = dataset["genre"].values, dataset["held_out"].values.astype(bool)
    found = {"all": np.ones(len(genres), dtype=bool)} | ({"held out": held} if held.any() else {})
    return found | {str(genre): genres == genre for genre in dict.fromkeys(genres.tolist())}


def probe_values(dataset: xr.Dataset) -> np.ndarray:
    """Sums of losses and counts a prompt: prompt, stage, reader, writer, target, layer, and the five in `LOSSES`."""
    order = ("prompt", "stage", "reader", "writer", "ahead", "layer")
    count = dataset["target_count"].astype(float)
    like = dataset["probe_loss"]
    sums = [(dataset[name].astype(float) * count).fillna(0.0).broadcast_like(like).transpose(*order) for name in LOSSES]
    return np.stack([*(each.values for each in sums), count.broadcast_like(like).transpose(*order).values], axis=-1)


def share(sums: np.ndarray) -> np.ndarray:
    """1 - probe's loss / embedding's, from sums with the five losses last; missing where nothing was read."""
    return one_minus(sums[..., PROBE], sums[..., EMBEDDING])


def one_minus(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """1 - part / whole, missing where the whole is zero."""
    return 1.0 - np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)


def best_layers(values: np.ndarray) -> np.ndarray:
    """The layer with the largest share, mean of both readers, by stage, writer and target."""
    shares = share(values.sum(axis=0)).mean(axis=1)
    return np.where(np.isnan(shares), -np.inf, shares).argmax(axis=-1)


def probe_entries(
    dataset: xr.Dataset, values: np.ndarray, layers: np.ndarray, name: str, kept: np.ndarray, draws: int
) -> list[dict[str, Any]]:
    """One entry a stage, writer and target of some prompts."""
    at = np.take_along_axis(values[kept], layers[None, :, None, :, :, None, None], axis=5)[..., 0, :]
    far = dataset["ahead"].values != "1"
    at = np.concatenate([at, at[..., far, :].sum(axis=-2, keepdims=True)], axis=-2)
    targets = [*dataset["ahead"].values.tolist(), FAR]

    def statistic(cells: np.ndarray) -> np.ndarray:
        sums = cells.sum(axis=0)
        shares = share(sums)
        count = np.where(sums[..., COUNT] > 0, sums[..., COUNT], np.nan)
        bits = (sums[..., EMBEDDING] - sums[..., PROBE]) / count / NATS_A_BIT
        left = sums[:, 0, ..., EMBEDDING] / count[:, 0] / NATS_A_BIT
        shuffled = one_minus(sums[:, 1, ..., SHUFFLED], sums[:, 1, ..., CLASSES])
        gain = shares[:, 1] - shares[:, 0]
        return np.stack([shares[:, 0], shares[:, 1], gain, bits[:, 0], bits[:, 1], left, shuffled], axis=-1)

    found = bootstrap(at, dataset["template"].values[kept].tolist(), statistic, draws=draws)
    names = ("by_base", "by_stage", "gain", "base_bits", "stage_bits", "left", "shuffled")
    entries = []
    for s, stage in enumerate(dataset["stage"].values.tolist()):
        for w, writer in enumerate(dataset["writer"].values.tolist()):
            for a, ahead in enumerate(targets):
                layer = None if ahead == FAR else int(dataset["layer"].values[layers[s, w, a]])
                heading = {"prompts": name, "stage": stage, "writer": writer, "ahead": ahead, "layer": layer}
                figures = {each: found.at(s, w, a, n) for n, each in enumerate(names)}
                if np.isfinite(figures["by_base"]["mean"]):
                    entries.append({**heading, "n_targets": int(at[:, s, 1, w, a, COUNT].sum()), **figures})
    return entries


def curve_entries(dataset: xr.Dataset, values: np.ndarray, draws: int) -> list[dict[str, Any]]:
    """The shares of all prompts by stage, reader, writer, target and layer, and those of permuted targets."""

    def statistic(cells: np.ndarray) -> np.ndarray:
        sums = cells.sum(axis=0)
        return np.stack([share(sums), one_minus(sums[..., SHUFFLED], sums[..., CLASSES])], axis=-1)

    found = bootstrap(values, dataset["template"].values.tolist(), statistic, draws=draws)
    names = ("stage", "reader", "writer", "ahead", "layer")
    labels = [dataset[name].values.tolist() for name in names]
    entries = []
    for index in np.ndindex(*(len(each) for each in labels)):
        heading = {name: values[i] for name, values, i in zip(names, labels, index, strict=True)}
        entries.append({**heading, "share": found.at(*index, 0), "shuffled": found.at(*index, 1)})
    return entries


def text_entries(dataset: xr.Dataset, draws: int) -> list[dict[str, Any]]:
    """Entropy and temperature of every writer's texts."""
    names = ("writer_entropy", "writer_temperature")
    values = np.stack([dataset[n].transpose("prompt", "stage", "writer").values.astype(float) for n in names], axis=-1)
    found = bootstrap(values, dataset["template"].values.tolist(), draws=draws)
    return [
        {"stage": stage, "writer": writer, "entropy": found.at(s, w, 0), "temperature": found.at(s, w, 1)}
        for s, stage in enumerate(dataset["stage"].values.tolist())
        for w, writer in enumerate(dataset["writer"].values.tolist())
    ]


def reaches(dataset: xr.Dataset) -> dict[str, np.ndarray]:
    """Prompts by how far ahead the planned token is."""
    distance = dataset["plan_distance"].values
    found = {NEXT: distance == 1, FURTHER: distance > 1}
    return {name: kept for name, kept in found.items() if kept.any()}


def patch_entries(dataset: xr.Dataset, draws: int) -> list[dict[str, Any]]:
    """One entry a stage and reach of what another prompt's residual moves."""
    base, entries = dataset["stage"].values[0], []
    columns = ("plan_gap", "plan_full")
    for reach, kept in reaches(dataset).items():
        for stage in dataset["stage"].values.tolist():
            both = dataset.sel(prompt=kept, stage=[base, stage]).transpose("prompt", "stage", ...)
            ok = both["plan_gap"].notnull().all("stage").values
            if not ok.any():
                continue
            both = both.sel(prompt=ok)
            flat = np.stack([both[name].values.astype(float) for name in columns], axis=-1)
            deep = np.stack([both[n].values[:, 1].astype(float) for n in ("plan_effect", "plan_random")], axis=1)
            values = np.concatenate([flat.reshape(len(flat), -1), deep.reshape(len(deep), -1)], axis=1)
            found = bootstrap(values, both["template"].values.tolist(), patch_shares, draws=draws)
            entries.append(
                {"stage": stage, "reach": reach, "n_prompts": int(ok.sum()), "gap": found.at(0)}
                | {"full": found.at(1), "gain": found.at(2), "noop": largest(both["plan_noop"].values[:, 1])}
                | {"by_layer": by_layer(found, dataset["layer"].values.tolist())}
            )
    return entries


def patch_shares(values: np.ndarray) -> np.ndarray:
    """Gap, share of the full patch, its gain over the base's, then effect, random and share of full by layer."""
    base_gap, base_full, gap, full, *rest = values.mean(axis=0)
    effect, random = np.split(np.asarray(rest), 2)
    whole = [gap, full / gap, full / gap - base_full / base_gap]
    return np.concatenate([whole, effect / gap, random / gap, effect / full])


def by_layer(found: Interval, layers: list[int]) -> list[dict[str, Any]]:
    """The figures of every layer behind the first three."""
    names = ("effect", "random", "of_full")
    return [
        {"layer": layer, **{name: found.at(3 + n * len(layers) + i) for n, name in enumerate(names)}}
        for i, layer in enumerate(layers)
    ]


def swap_entries(dataset: xr.Dataset, draws: int) -> list[dict[str, Any]]:
    """One entry a direction and reach of what the other stage's residual moves, in nats."""
    entries = []
    for reach, kept in reaches(dataset).items():
        for direction in dataset["direction"].values.tolist():
            here = dataset.sel(prompt=kept, direction=direction).transpose("prompt", ...)
            columns = [here[name].values[:, None] for name in ("swap_gap", "swap_full")]
            values = np.concatenate([*columns, here["swap_effect"].values], axis=1).astype(float)
            found = bootstrap(values, here["template"].values.tolist(), draws=draws)
            layers = dataset["layer"].values.tolist()
            effects = [{"layer": layer, "effect": found.at(2 + n)} for n, layer in enumerate(layers)]
            heading = {"direction": direction, "reach": reach, "gap": found.at(0), "full": found.at(1)}
            entries.append({**heading, "noop": largest(here["swap_noop"].values), "by_layer": effects})
    return entries


def largest(values: np.ndarray) -> float:
    """The largest absolute value."""
    return float(np.nanmax(np.abs(values)))
