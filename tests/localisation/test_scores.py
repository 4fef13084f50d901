"""Scores are weighted means of shares, checked against a calculation by hand."""

import numpy as np
import pytest
import xarray as xr

from mcinterp.localisation.evidence import KINDS, WEIGHED
from mcinterp.localisation.scores import WEIGHTS, site_scores

PROMPTS, NAMES = 5, ["embed", "0.mlp", "unembed"]


def made_up(templates: list[str]) -> xr.Dataset:
    """Evidence of random numbers; patches do not reach the unembedding."""
    random = np.random.default_rng(1)
    data = {
        kind: (("prompt", "component"), random.normal(size=(PROMPTS, len(NAMES)))) for kind in (*KINDS, "graft_entropy")
    }
    for kind in data:
        if kind.startswith(("patch", "answer")):
            data[kind][1][:, 2] = np.nan
    data["log_odds_gap"] = ("prompt", random.uniform(2, 4, PROMPTS))
    data["entropy_gap"] = ("prompt", -random.uniform(1, 2, PROMPTS))
    coords = {
        "component": NAMES,
        "site": ("component", ["embed", "mlp", "unembed"]),
        "layer": ("component", [-1, 0, -1]),
        "head": ("component", [-1, -1, -1]),
        "template": ("prompt", templates),
    }
    return xr.Dataset(data, coords=coords).astype(np.float32)


def by_hand(evidence: xr.Dataset, name: str) -> float:
    total = weight = 0.0
    for kind in WEIGHED:
        values = evidence[kind].sel(component=name).values
        if not np.isnan(values).any():
            total += WEIGHTS[kind] * values.mean() / evidence["log_odds_gap"].values.mean()
            weight += WEIGHTS[kind]
    return total / weight


def test_a_score_is_the_weighted_mean_of_the_shares_that_reach_the_component() -> None:
    evidence = made_up([str(i) for i in range(PROMPTS)])
    scores = site_scores(evidence, draws=50)
    for name in NAMES:
        assert float(scores["score"].sel(component=name)) == pytest.approx(by_hand(evidence, name), abs=1e-5)
    assert scores["score"].values.tolist() == sorted(scores["score"].values.tolist(), reverse=True)
    assert np.isnan(scores["patch_necessity_share"].sel(component="unembed"))
    assert bool((scores["ci_low"] <= scores["score"]).all())
    assert bool((scores["score"] <= scores["ci_high"]).all())


def test_what_is_shown_counts_for_nothing() -> None:
    evidence = made_up([str(i) for i in range(PROMPTS)])
    louder = evidence.assign({name: evidence[name] * 100 for name in set(KINDS) - set(WEIGHED)})
    xr.testing.assert_equal(site_scores(evidence, draws=20)["score"], site_scores(louder, draws=20)["score"])


def test_one_template_gives_no_interval() -> None:
    scores = site_scores(made_up(["same"] * PROMPTS), draws=20)
    assert bool(scores["ci_low"].isnull().all())
    assert bool(scores["score"].notnull().all())


def test_near_copies_widen_no_evidence() -> None:
    """Every prompt twice in its template gives the same intervals as every prompt once."""
    once = made_up([str(i) for i in range(PROMPTS)])
    twice = xr.concat([once, once], dim="prompt")
    for one, two in zip(*(site_scores(each, draws=80).data_vars.values() for each in (once, twice)), strict=True):
        np.testing.assert_allclose(one.values, two.values, atol=1e-5)
