"""Is it a temperature? Curves of validity and diversity, exponents by scope, whole texts, and the mode removed."""

from typing import Any

import numpy as np
import xarray as xr

from mcinterp.behaviour.temperature_curves.rollouts import PLACE, stage_sums
from mcinterp.behaviour.temperature_curves.sequence import fit, product_sums
from mcinterp.parts import completeness_error
from mcinterp.statistics import Interval, bootstrap, mean_over_prompts
from mcinterp.summary.behaviour.cells import genres_in
from mcinterp.summary.behaviour.lines import interval, table

CURVES = ("base_nll", "distinct", "sampled_entropy", "grammatical_share", "ended_share")
SLOPES = ("order", "slope_log_prob", "slope_future", "beyond_prediction", "r2", "r2_without_future")
HEAD = (
    "genre", "stage", "different texts at the base's NLL", "explained: global", "prompt", "token", "slope of log p",
    "of the future", "R²", "read",
)  # fmt: skip
EXPLAINS = 0.5
NEARLY = 0.05
SHUFFLES = 20
LEAST_TEMPLATES = 4


def summary(dataset: xr.Dataset, *, draws: int = 1000) -> dict[str, Any]:
    """What each of the four parts shows where the dataset has it, over all prompts and genre by genre.

    `curves`: one entry a stage and temperature. `at_base_validity`: one a stage, with the temperature at which its
    samples are as likely under the base as the base's own at temperature 1 are, and how diverse they are there.
    `scopes`: one a stage, writer and scope, with the `share` of KL(stage || base) that one exponent explains (below 0
    where the exponent of all prompts is worse than none in a genre).
    `sequence`: one a stage, with the slopes of the regression, their distance from the prediction, and what is `read`
    from it (of 4 templates or more). `mode`: one a stage, removal and place (all prompts only). Every figure is a mean,
    or a ratio of sums, with its 95 % interval over templates.
    """
    parts = {"base_nll": curve_entries, "kl_sum": scope_entries, "branch_log_prob": sequence_entries}
    names = {"base_nll": "curves", "kl_sum": "scopes", "branch_log_prob": "sequence"}
    found: dict[str, Any] = {"stages": dataset["stage"].values.tolist(), "n_prompts": dataset.sizes["prompt"]}
    for variable, entries in parts.items():
        if variable in dataset:
            found[names[variable]] = [entry for cell in cells(dataset) for entry in entries(cell, draws)]
    if "base_nll" in dataset and 1.0 in dataset["temperature"].values:
        found["at_base_validity"] = [entry for cell in cells(dataset) for entry in validity_entries(cell, draws)]
    if "once_nll" in dataset:
        found["mode"] = mode_entries(dataset, draws)
    return found


def headline(found: dict[str, Any]) -> str:
    """One row a genre and stage."""
    rows = []
    for at in found["at_base_validity"]:
        mine = {"genre": at["genre"], "stage": at["stage"]}
        shares = [interval(e["share"]) for e in found["scopes"] if mine | {"written_by": "base"} == about(e)]
        row = [*mine.values(), interval(at["distinct"]), *shares]
        for sequence in (e for e in found["sequence"] if mine == about(e)):
            slopes = [interval(sequence[name]) for name in ("slope_log_prob", "slope_future", "r2")]
            row += [*slopes, str(sequence["read"] or "")]
        rows.append(row + [""] * (len(HEAD) - len(row)))
    return table(HEAD, rows)


def about(entry: dict[str, Any]) -> dict[str, Any]:
    """What an entry is about."""
    return {name: entry[name] for name in ("genre", "stage", "written_by") if name in entry}


def cells(dataset: xr.Dataset) -> list[xr.Dataset]:
    """The prompts of every genre, and all of them."""
    return [dataset.sel(prompt=here).assign_attrs(cell=genre) for genre, here in genres_in(dataset)]


def measured(cell: xr.Dataset, arrays: dict[str, xr.DataArray], draws: int) -> dict[str, Any]:
    """Means over prompts with intervals, of arrays over prompt alone."""
    values = np.stack([each.values.astype(float) for each in arrays.values()], axis=-1)
    found = bootstrap(values, cell["template"].values.tolist(), draws=draws)
    return {name: found.at(index) for index, name in enumerate(arrays)}


def curve_entries(cell: xr.Dataset, draws: int) -> list[dict[str, Any]]:
    """One entry a stage and temperature."""
    return [
        {
            "genre": cell.attrs["cell"],
            "stage": stage,
            "temperature": temperature,
            **measured(cell, {name: cell[name].sel(stage=stage, temperature=temperature) for name in CURVES}, draws),
        }
        for stage in cell["stage"].values.tolist()
        for temperature in cell["temperature"].values.tolist()
    ]


def validity_entries(cell: xr.Dataset, draws: int) -> list[dict[str, Any]]:
    """How diverse each stage is where its samples are as likely under the base as the base's own."""
    names = ("base_nll", "distinct", "sampled_entropy")
    ordered = [cell[name].transpose("prompt", "stage", "temperature").values.astype(float) for name in names]
    temperatures = cell["temperature"].values.astype(float)

    def equal_validity(values: np.ndarray) -> np.ndarray:
        mean = mean_over_prompts(values)
        wanted = float(mean[0, np.flatnonzero(temperatures == 1.0)[0], 0])
        return np.stack([crossing(one, temperatures, wanted) for one in mean])

    found = bootstrap(np.stack(ordered, axis=-1), cell["template"].values.tolist(), equal_validity, draws=draws)
    found = Interval(*(np.where(np.isnan(found.mean), np.nan, end) for end in found))
    return [
        {
            "genre": cell.attrs["cell"],
            "stage": stage,
            **{name: found.at(s, i) for i, name in enumerate(("temperature", "distinct", "sampled_entropy"))},
        }
        for s, stage in enumerate(cell["stage"].values.tolist())
    ]


def crossing(curve: np.ndarray, temperatures: np.ndarray, wanted: float) -> np.ndarray:
    """Temperature, distinct and entropy where the NLL of a curve rises above a value; missing where it never does."""
    nll = curve[:, 0]
    above = np.flatnonzero(nll > wanted)
    if nll[0] > wanted or not len(above):
        hit = np.flatnonzero(np.isclose(nll, wanted))
        return np.concatenate([[temperatures[hit[0]]], curve[hit[0], 1:]]) if len(hit) else np.full(3, np.nan)
    right = above[0]
    step = (wanted - nll[right - 1]) / (nll[right] - nll[right - 1])
    table = np.concatenate([temperatures[:, None], curve[:, 1:]], axis=1)
    return table[right - 1] + step * (table[right] - table[right - 1])


def scope_entries(cell: xr.Dataset, draws: int) -> list[dict[str, Any]]:
    """The share of KL(stage || base) that one exponent explains, by stage, writer of the text and scope."""
    entries = []
    for stage in later(cell, "kl_sum"):
        for by in cell["written_by"].values.tolist():
            one = cell.sel(stage=stage, written_by=by)
            whole = one["kl_sum"].values.astype(float)
            parts = one[["temperature_kl_sum", "frequency_kl_sum", "reordering_kl_sum"]].to_dataarray().sum("variable")
            missing = completeness_error(parts.values.sum(keepdims=True), whole.sum(keepdims=True))
            for scope in cell["scope"].values.tolist():
                explained = one["explained_kl_sum"].sel(scope=scope).values.astype(float)
                pair = np.stack([explained, whole], axis=-1)
                found = bootstrap(pair, cell["template"].values.tolist(), ratio_of_sums, draws=draws)
                entries.append(
                    {
                        "genre": cell.attrs["cell"], "stage": stage, "written_by": by, "scope": scope,
                        "kl_a_position": float(whole.sum() / one["n_positions"].sum()),
                        "beta": float(one["scope_beta"].sel(scope=scope).median()),
                        "share": found.at(0),
                        "completeness_error": missing.item(),
                    }
                )  # fmt: skip
    return entries


def ratio_of_sums(pairs: np.ndarray) -> np.ndarray:
    """Sum of the first column over that of the second; missing where that is nothing."""
    part, whole = pairs.sum(axis=0)
    return np.asarray([part / whole if whole > 1e-6 else np.nan])


def later(cell: xr.Dataset, name: str) -> list[str]:
    """The stages that a measure of later stages has."""
    others = [dim for dim in cell[name].dims if dim != "stage"]
    return cell["stage"].values[cell[name].notnull().any(others).values].tolist()


def sequence_entries(cell: xr.Dataset, draws: int) -> list[dict[str, Any]]:
    """The regression of every later stage, with the reading it allows."""
    entries = []
    for stage in later(cell, "branch_log_prob"):
        sums = stage_sums(cell, stage)
        found = bootstrap(sums, cell["template"].values.tolist(), slopes, draws=draws)
        figures = {name: found.at(index) for index, name in enumerate(SLOPES)}
        entries.append(
            {
                "genre": cell.attrs["cell"],
                "stage": stage,
                **figures,
                "consistent": fit(sums.sum(axis=0)).consistent,
                "slope_future_shuffled": shuffled(cell, stage),
                "reliability": reliability(cell),
                "read": read_of(figures) if len(set(cell["template"].values.tolist())) >= LEAST_TEMPLATES else None,
            }
        )
    return entries


def slopes(sums: np.ndarray) -> np.ndarray:
    """The figures of the regression over some prompts, in the order of `SLOPES`."""
    found = fit(sums.sum(axis=0))
    return np.asarray([getattr(found, name) for name in SLOPES])


def shuffled(cell: xr.Dataset, stage: str) -> float:
    """The slope of H with the futures of every prefix's branches shuffled, mean over shuffles: 0 is nothing."""
    random = np.random.default_rng(0)
    log_q = cell["branch_log_prob"].sel(stage=stage).transpose(*PLACE).values.astype(float)
    log_p = cell["branch_base_log_prob"].transpose(*PLACE).values.astype(float)
    future = cell["future_renyi_entropy"].transpose(*PLACE, "order").values.astype(float)
    there = ~np.isnan(log_p)
    found = []
    for _ in range(SHUFFLES):
        keys = np.where(there, random.random(there.shape), np.arange(there.shape[-1]) + 1.0)
        order = np.argsort(keys, axis=-1)
        moved = np.take_along_axis(future, order[..., None], axis=-2)
        found.append(fit(product_sums(log_q, log_p, moved).sum(axis=(0, 1))).slope_future)
    return float(np.nanmean(found)) if np.isfinite(found).any() else float("nan")


def reliability(cell: xr.Dataset) -> float:
    """Correlation within prefixes of the futures' entropies from either half of the texts, stepped up to all of them.

    Spearman (1910), Brown (1910). Noise in H draws its slope towards 0: below about 0.8 take more samples.
    """
    halves = cell["future_half"].transpose("half", *PLACE).values.astype(float)
    centred = halves - mean_over_prompts(np.moveaxis(halves, -1, 0))[..., None]
    one, other = (each[~np.isnan(halves).any(axis=0)] for each in centred)
    scale = np.sqrt((one**2).sum() * (other**2).sum())
    r = float((one * other).sum() / scale) if scale > 0 else float("nan")
    return 2 * r / (1 + r)


def read_of(figures: dict[str, dict[str, float]]) -> str:
    """What the regression says: tempered `tokens`, whole `texts`, `unchanged`, `either` or `neither` of the two.

    Unchanged is a slope of log p within 0.05 of 1, or one whose interval holds 1 beside a slope of H whose holds 0.
    """

    def holds(name: str, value: float) -> bool:
        return figures[name]["ci_low"] <= value <= figures[name]["ci_high"]

    if not figures["r2"]["mean"] >= EXPLAINS:
        return "neither"
    tokens, texts = holds("slope_future", 0.0), holds("beyond_prediction", 0.0)
    near = abs(figures["slope_log_prob"]["mean"] - 1.0) < NEARLY
    if near or (holds("slope_log_prob", 1.0) and tokens):
        return "unchanged"
    return {(True, True): "either", (True, False): "tokens", (False, True): "texts"}.get((tokens, texts), "neither")


def mode_entries(dataset: xr.Dataset, draws: int) -> list[dict[str, Any]]:
    """What removing likely tokens costs, by stage, removal and place of the mode."""
    entries = []
    for stage in dataset["stage"].values.tolist():
        for removal in dataset["removal"].values.tolist():
            one = dataset.sel(stage=stage, removal=removal)
            whole = {name: one[name] for name in ("removal_nll", "removal_distinct", "removal_grammatical")}
            every = measured(dataset, whole, draws)
            for place in dataset["place"].values.tolist():
                at = {name: one[name].sel(place=place) for name in ("once_nll", "place_nll", "place_share")}
                found = measured(dataset, at, draws)
                entries.append({"stage": stage, "removal": removal, "place": place, **found, **every})
    return entries
