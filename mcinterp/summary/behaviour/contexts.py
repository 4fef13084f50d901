"""Which contexts collapse, as plain numbers: means with 95 % intervals by bootstrap over templates."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from mcinterp.behaviour.contexts.regression import explained
from mcinterp.results import provenance_of
from mcinterp.statistics import bootstrap, spearman
from mcinterp.summary.behaviour.lines import interval

DRAWS = 500


def summary(dataset: xr.Dataset) -> dict[str, Any]:
    """What `contexts` (with predictions, precedents and raters where they were measured) shows, stage by stage.

    Every entry is a mean with `ci_low` and `ci_high`. Gaps are base minus stage, nats; `genres` are means by genre;
    `prediction` holds `r2` (0: no better than the mean of other templates) and `spearman` of the held-out predictions
    of every model (an uninformative one's rank correlation lies below 0, since leaving a template out lowers its guess
    where the template is high); `slopes` nats for one standard deviation; `shots` the gap by precedents on the prompts
    that have all of them; `copied_span` tokens.
    """
    return {str(stage): of_stage(dataset.sel(stage=stage)) for stage in dataset["stage"].values}


def headline(found: dict[str, Any]) -> str:
    """What every stage loses, and how well it can be foretold."""
    lines = []
    for stage, figures in list(found.items())[1:]:
        gap, foretold = figures["context_gap"], figures["prediction"]
        best = foretold["all but entropy"]
        lines.append(
            f"{stage}: loses {interval(gap)} nats; without the base's entropy R2 {interval(best['r2'])}, "
            f"Spearman {interval(best['spearman'])}; with it {foretold['all']['r2']['mean']:.2f}"
        )
    return "\n".join(lines)


def of_stage(one: xr.Dataset) -> dict[str, Any]:
    """The figures of one stage."""
    found: dict[str, Any] = {
        name: interval_of(one, one[name])
        for name in ("entropy", "context_gap", "context_gap_along", "rater_gap", "pooled_gap", "rater_information")
        if name in one
    }
    for name in ("copied_span", "copied_span_by_chance", "copied_share"):
        found[name] = interval_of(one, one[name].mean("sample"))
    genres = dict.fromkeys(one["genre"].values.tolist())
    found["genres"] = {
        genre: interval_of(at := one.sel(prompt=one["genre"] == genre), at["context_gap"]) for genre in genres
    }
    if "shot_gap" in one:
        found["shots"] = shots(one)
    if "predicted_gap" in one and bool(one["predicted_gap"].notnull().any()):
        found |= {"prediction": prediction(one), "slopes": slopes(one)}
    return found


def interval_of(one: xr.Dataset, values: xr.DataArray) -> dict[str, float]:
    """Mean over prompts with its interval over templates."""
    return bootstrap(values.values.astype(float), templates(one), draws=DRAWS).at()


def templates(one: xr.Dataset) -> Sequence[str]:
    """The template of every prompt."""
    return one["template"].values.tolist()


def shots(one: xr.Dataset) -> dict[str, Any]:
    """The gap by kind and number of precedents, on the prompts that have every one of them."""
    whole = one.sel(prompt=one["shot_gap"].notnull().all(["shots", "precedent"]))
    if whole.sizes["prompt"] == 0:
        return {"n_prompts": 0}
    found: dict[str, Any] = {"n_prompts": whole.sizes["prompt"]}
    for kind in whole["precedent"].values.tolist():
        cells = {str(n): whole["shot_gap"].sel(precedent=kind, shots=n) for n in whole["shots"].values.tolist()}
        found[kind] = {number: interval_of(whole, values) for number, values in cells.items()}
    return found


def prediction(one: xr.Dataset) -> dict[str, Any]:
    """R2 and Spearman of the held-out predictions of every model, and their intervals (predictions held fixed)."""
    gap = provenance_of(one).get("predicted", "context_gap")
    found = {}
    for model in one["model"].values.tolist():
        parts = (one[gap], one["predicted_gap"].sel(model=model), one["guessed_gap"])
        rows = np.stack([each.values.astype(float) for each in parts], axis=1)
        r2 = of_rows(one, rows, lambda drawn: explained(drawn[:, 0], drawn[:, 1], drawn[:, 2]))
        rank = of_rows(one, rows, lambda drawn: spearman(drawn[:, 0], drawn[:, 1]))
        found[model] = {"r2": r2, "spearman": rank}
    return found


def of_rows(one: xr.Dataset, rows: np.ndarray, statistic: Callable[[np.ndarray], float]) -> dict[str, float]:
    """A statistic of rows with its interval over templates."""
    return bootstrap(rows, templates(one), lambda drawn: np.asarray(statistic(drawn)), draws=DRAWS).at()


def slopes(one: xr.Dataset) -> dict[str, dict[str, float]]:
    """The slope of every predictor but words in the last model (which draws of templates may lack)."""
    ends = [one[f"slope{end}"].values.tolist() for end in ("", "_low", "_high")]
    return {
        name: {"mean": mean, "ci_low": low, "ci_high": high}
        for name, mean, low, high in zip(one["predictor"].values.tolist(), *ends, strict=True)
        if "=" not in name
    }
