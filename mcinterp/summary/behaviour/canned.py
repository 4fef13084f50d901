"""Canned answers as plain numbers: how sure and how canned by stage, which nouns collapse, and whether rare ones do."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from mcinterp.behaviour.canned.openings import log_odds
from mcinterp.behaviour.canned.regression import (
    Association,
    Fit,
    association,
    by_word,
    fractional_logit,
    least_squares,
    told_apart,
)
from mcinterp.results import provenance_of
from mcinterp.statistics import bootstrap
from mcinterp.summary.behaviour.lines import interval, table

MEASURES = ("sure_share", "distinct", "entropy", "opening_share", "opening_log_odds")
COLLAPSED, EXTREMES, STARTS, FLAT, REGRESSION_DRAWS = 0.5, 3, 6, 0.1, 200
ASKED = (("all", "opening_log_odds"), ("all", "sure_share"), ("held out", "opening_log_odds"))
FITS = {"opening_log_odds": least_squares, "sure_share": fractional_logit}
POST = ("bugs", "people", "birds", "bananas", "mammals", "cows")


def summary(dataset: xr.Dataset, *, draws: int = 1000) -> dict[str, Any]:
    """What a dataset of `canned` says; every figure a mean with the ends of its 95 % interval over templates.

    Where the battery tells wordings apart, each is a side of its own, and the plain and held-out prompts, the nouns and
    their improbability are those of the first (`wordings`). `cells`: by side (all prompts, plain ones, held-out ones,
    each wording), kind of noun (and all) and stage, `levels` and `differences` (stage minus base) of the share of sure
    tokens, distinct samples, entropy of steps (nats), probability of the canned opening and its log-odds. `nouns`: by
    stage, those with a mean probability of the opening above a half over their templates (`collapsed`), the least and
    the most canned, and those that the post names; `nouns_otherwise`: the same for each further wording. `starts`: the
    likeliest first tokens, mean over prompts of their exact probability. `improbability`: rank correlations of noun
    surprise with the log-odds of the opening and the share of sure tokens, and slopes (of log-odds, for one standard
    deviation of it within wordings), with intervals over resampled nouns and templates; a slope is `there` where
    neither of its intervals holds 0. `spread` is the surprise's standard deviation over nouns (nats).
    """
    how = provenance_of(dataset)
    return {
        "stages": dataset["stage"].values.tolist(),
        "n_prompts": dataset.sizes["prompt"],
        "n_nouns": len(set(dataset["noun"].values.tolist())),
        "settings": {name: how.get(name) for name in ("opening", "opening_given", "samples", "temperature")},
        "cells": [entry for cell in cells(dataset) for entry in entries(cell, draws)],
        "wordings": wordings(dataset),
        "nouns": nouns(in_wording(dataset)),
        "nouns_otherwise": {name: nouns(in_wording(dataset, name)) for name in wordings(dataset)[1:]},
        "starts": starts(dataset, draws),
        "spread": spread(dataset),
        "improbability": improbability(dataset, min(draws, REGRESSION_DRAWS)),
    }


def headline(found: dict[str, Any]) -> str:
    """One row a side and stage, then the nouns of every stage and what their improbability says."""
    whole = [entry for entry in found["cells"] if entry["kind"] == "all"]
    rows = [
        [entry["prompts"], entry["stage"], *(interval(entry["levels"][name]) for name in MEASURES)] for entry in whole
    ]
    opening = f"Canned opening: {found['settings']['opening']!r}, over {found['n_nouns']} nouns."
    lines = [nouns_line(stage, found["nouns"][stage]) for stage in found["stages"]]
    lines += [
        nouns_line(f"{stage}, {name}", said[stage])
        for name, said in found["nouns_otherwise"].items()
        for stage in found["stages"]
    ]
    return "\n\n".join(
        [opening, table(("prompts", "stage", *MEASURES), rows), "\n".join(lines), "\n".join(slope_lines(found))]
    )


def nouns_line(stage: str, said: dict[str, Any]) -> str:
    """Which nouns collapse in a stage."""
    least, most = (", ".join(f"{noun} {share:.2f}" for noun, share in said[end].items()) for end in ("least", "most"))
    return f"{stage}: {len(said['collapsed'])} of {said['n_nouns']} nouns collapsed; least canned {least}; most {most}"


def slope_lines(found: dict[str, Any]) -> list[str]:
    """What the improbability of nouns says of the opening, a line a stage."""
    flat = ", too little to ask: the base finds all alike." if found["spread"] < FLAT else "."
    lines = [f"Noun surprise varies by {found['spread']:.2f} nats (one standard deviation over nouns){flat}"]
    for entry in found["improbability"]:
        if entry["outcome"] == "opening_log_odds" and entry["prompts"] == "all":
            said = "a slope" if entry["there"] else "no slope beyond chance"
            by = (f"{interval(entry[unit]['slope'])} over {unit}s" for unit in ("noun", "template"))
            rank = interval(entry["noun"]["rank"])
            lines.append(f"{entry['stage']}: {said}: log-odds {', '.join(by)}; rank correlation {rank}")
    return lines


def cells(dataset: xr.Dataset) -> list[xr.Dataset]:
    """All prompts, plain and held-out ones, of all kinds of nouns; each wording; and all prompts of every kind."""
    held_out = dataset["held_out"].values.astype(bool)
    everything = np.ones_like(held_out)
    of = {name: (dataset["wording"] == name).values for name in wordings(dataset)}
    first = next(iter(of.values()), everything)
    sides = [("all", "all", everything), ("plain", "all", first & ~held_out), ("held out", "all", first & held_out)]
    sides += [(name, "all", here) for name, here in of.items()]
    kinds = list(dict.fromkeys(dataset["kind"].values.tolist()))
    sides += [("all", kind, (dataset["kind"] == kind).values) for kind in kinds if len(kinds) > 1]
    return [
        dataset.sel(prompt=kept).assign_attrs(side=side, cell=kind, **dataset.attrs)
        for side, kind, kept in sides
        if kept.any() and (side == "all" or not kept.all())
    ]


def wordings(dataset: xr.Dataset) -> list[str]:
    """The wordings that the battery tells apart, in its order; none where it does not."""
    names = list(dict.fromkeys(dataset["wording"].values.tolist())) if "wording" in dataset.coords else []
    return names if len(names) > 1 else []


def in_wording(dataset: xr.Dataset, name: str | None = None) -> xr.Dataset:
    """The prompts of one wording, of the first where none is named; all prompts where wordings are not told apart."""
    names = wordings(dataset)
    return dataset.sel(prompt=(dataset["wording"] == (name or names[0])).values) if names else dataset


def measured(dataset: xr.Dataset) -> dict[str, np.ndarray]:
    """Every measure, `[prompt, stage]`."""
    read = {name: dataset[name].transpose("prompt", "stage").values.astype(float) for name in MEASURES[:2]}
    opening = dataset["opening_log_prob"].transpose("prompt", "stage").values
    entropy = dataset["sample_entropy"].mean("step", skipna=True).transpose("prompt", "stage").values.astype(float)
    return {
        **read,
        "entropy": entropy,
        "opening_share": np.exp(opening.astype(float)),
        "opening_log_odds": log_odds(opening),
    }


def entries(cell: xr.Dataset, draws: int) -> list[dict[str, Any]]:
    """One side, one entry a stage."""
    values = np.stack(list(measured(cell).values()), axis=-1)
    templates = cell["template"].values.tolist()
    found = bootstrap(np.stack([values, values - values[:, :1]], axis=1), templates, draws=draws)
    return [
        {
            "prompts": cell.attrs["side"], "kind": cell.attrs["cell"], "stage": stage,
            "n_prompts": cell.sizes["prompt"], "n_templates": len(set(templates)),
            **{
                name: {measure: found.at(number, s, m) for m, measure in enumerate(MEASURES)}
                for number, name in enumerate(("levels", "differences"))
            },
        }
        for s, stage in enumerate(cell["stage"].values.tolist())
    ]  # fmt: skip


def nouns(dataset: xr.Dataset) -> dict[str, Any]:
    """Of every stage, which nouns collapse, by their mean probability of the opening."""
    opening = dataset["opening_log_prob"].astype(float)
    share = dataset.assign(share=np.exp(opening))["share"].groupby("noun").mean(skipna=True)
    found: dict[str, Any] = {}
    for stage in share["stage"].values.tolist():
        values = share.sel(stage=stage).dropna("noun")
        pairs = zip(values["noun"].values.tolist(), values.values.tolist(), strict=True)
        by_noun = dict(sorted(pairs, key=lambda pair: pair[1]))
        found[stage] = {
            "n_nouns": len(by_noun),
            "collapsed": [noun for noun, value in by_noun.items() if value > COLLAPSED],
            "least": dict(list(by_noun.items())[:EXTREMES]),
            "most": dict(list(by_noun.items())[-EXTREMES:]),
            "post": {noun: by_noun[noun] for noun in POST if noun in by_noun},
        }
    return found


def starts(dataset: xr.Dataset, draws: int) -> list[dict[str, Any]]:
    """The likeliest first tokens of every length, mean probability over prompts: 0 where no stage gives them 1 %."""
    templates, found = dataset["template"].values.tolist(), []
    for number in range(dataset.sizes["length"]):
        text = dataset["start"].isel(length=number).transpose("prompt", "choice").values
        share = np.exp(dataset["start_log_prob"].isel(length=number).transpose("prompt", "stage", "choice").values)
        names = [name for name in dict.fromkeys(text.ravel().tolist()) if name]
        columns = [np.where((text == name)[:, None], share, 0.0).sum(axis=2) for name in names]
        order = sorted(range(len(names)), key=lambda n: -columns[n].mean(axis=0).max())[:STARTS]
        for n in order:
            each = bootstrap(columns[n].astype(float), templates, draws=draws)
            by_stage = {stage: each.at(s) for s, stage in enumerate(dataset["stage"].values.tolist())}
            found.append({"length": number + 1, "start": names[n], "share": by_stage})
    return found


def codes(labels: Sequence[str]) -> np.ndarray:
    """Labels as numbers."""
    return np.unique(np.asarray(labels), return_inverse=True)[1]


def by_noun(dataset: xr.Dataset) -> pd.DataFrame:
    """One row a noun and stage: surprise and log-odds of the opening, as in a mean wording; prompts that have both."""
    first = in_wording(dataset)
    both = first["noun_surprise"].notnull() & first["opening_log_prob"].notnull().all("stage")
    here = first.sel(prompt=both.values)
    word, wording = (codes(here[name].values.tolist()) for name in ("noun", "template"))
    names, first = np.unique(here["noun"].values, return_index=True)
    surprise, odds = here["noun_surprise"].values.astype(float), measured(here)["opening_log_odds"]
    shared = {"noun": names, "held_out": here["held_out"].values[first]}
    shared["surprise"] = by_word(surprise, word, wording) + surprise.mean() if len(names) else surprise
    return pd.concat(
        [
            pd.DataFrame({**shared, "stage": stage, "log_odds": by_word(odds[:, s], word, wording) + odds[:, s].mean()})
            for s, stage in enumerate(here["stage"].values.tolist() if len(names) else [])
        ]
        or [pd.DataFrame(columns=[*shared, "stage", "log_odds"])]
    )


def spread(dataset: xr.Dataset) -> float:
    """Standard deviation of the surprise over nouns, wordings' means taken off (nats)."""
    first = in_wording(dataset)
    surprise = first["noun_surprise"].values.astype(float)
    known = ~np.isnan(surprise)
    word, wording = (codes(first[name].values.tolist())[known] for name in ("noun", "template"))
    return float(by_word(surprise[known], word, wording).std()) if known.any() else float("nan")


def improbability(dataset: xr.Dataset, draws: int, asked: Sequence[tuple[str, str]] = ASKED) -> list[dict[str, Any]]:
    """How noun surprise goes with what is asked, pairs of a side and a measure, by stage."""
    sides = {cell.attrs["side"]: cell for cell in cells(in_wording(dataset)) if cell.attrs["cell"] == "all"}
    found = []
    for side, outcome in ((side, outcome) for side, outcome in asked if side in sides):
        values = measured(sides[side])[outcome]
        for s, stage in enumerate(dataset["stage"].values.tolist()):
            by = {
                unit: associations(sides[side], values[:, s], unit, FITS[outcome], draws)
                for unit in ("noun", "template")
            }
            there = all(each["slope"]["ci_low"] * each["slope"]["ci_high"] > 0 for each in by.values())
            found.append({"prompts": side, "outcome": outcome, "stage": stage, "there": there, **by})
    return found


def associations(cell: xr.Dataset, outcome: np.ndarray, unit: str, fit: Fit, draws: int) -> dict[str, dict[str, float]]:
    """The association with its intervals over resampled nouns or templates."""
    word, wording = (codes(cell[name].values.tolist()) for name in ("noun", "template"))
    columns = [cell[name].values.astype(float) for name in ("noun_surprise", "noun_tokens")]
    rows = np.stack([*columns, outcome, word.astype(float), wording.astype(float)], axis=1)

    def statistic(drawn: np.ndarray) -> np.ndarray:
        words, wordings = (drawn[:, column].astype(int) for column in (3, 4))
        words = told_apart(words, wordings) if unit == "noun" else words
        return np.asarray(association(drawn[:, 0], drawn[:, 1], drawn[:, 2], words, wordings, fit))

    interval = bootstrap(rows, cell[unit].values.tolist(), statistic, draws=draws)
    return {name: interval.at(n) for n, name in enumerate(Association._fields)}
