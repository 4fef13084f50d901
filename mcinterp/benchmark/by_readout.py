"""Methods that read the residual stream by a readout: where the collapse can be read, rather than where it is made."""

import numpy as np
import xarray as xr

from mcinterp.attribution.direct import direct_logit_attribution
from mcinterp.benchmark.case import Answer, Case, method
from mcinterp.landmarks import gap_by_depth, onset_of
from mcinterp.localisation.readable import lens_increments, written_by

ONSET_SHARE = 0.3


def increments(case: Case, lens: str) -> Answer:
    """How the gap of the attractor's lens log-odds, tuned minus base, grows across each component."""
    steps = lens_increments(case.lens, lens)
    return Answer(case.scores_of_components({name: float(values.mean()) for name, values in steps.items()}))


@method("logit-lens increment (own readout)")
def increment_own(case: Case) -> Answer:
    """Each stage is read by its own final norm and unembedding."""
    return increments(case, "own")


@method("logit-lens increment (base readout)")
def increment_base(case: Case) -> Answer:
    """Both stages are read by the base's final norm and unembedding."""
    return increments(case, "common")


@method("lens onset at 30 %")
def lens_onset(case: Case) -> Answer:
    """The first component from which the lens entropy gap stays above 30 % of its final value.

    It scores 1 and the others less by their distance from it in the order of computation, the earlier of two first.
    Nothing scores where there is no gap.
    """
    gap = gap_by_depth(case.lens, "last").sel(lens="own").isel(stage=-1).mean("prompt")
    first = float(onset_of(gap.values.astype(float), ONSET_SHARE))
    if np.isnan(first):
        return Answer(case.scores({}))
    order = [*map(written_by, gap["depth"].values.tolist()), "norm", "unembed"]
    away = [abs(place - first) + (0.5 if place > first else 0.0) for place in range(len(order))]
    return Answer(case.scores_of_components({n: 1 - d / len(order) for n, d in zip(order, away, strict=True)}))


def written(case: Case) -> xr.Dataset:
    """What tuning changed of the attractor's logit against the plausible tokens, by who writes it; means."""
    by = "head" if case.by == "head" else "component"
    found = direct_logit_attribution(case.chain, case.sequences, by=by, against="plausible")
    names = ["attribution", "output_changed", "readout_changed"]
    change = found[names].mean("prompt")
    return (change - change.isel(stage=0)).isel(stage=-1)


@method("direct logit attribution difference")
def direct(case: Case) -> Answer:
    """How much more of the attractor's logit a component writes in the tuned stage than in the base."""
    change = written(case)["attribution"]
    return Answer(case.scores(dict(zip(change["component"].values.tolist(), change.values.tolist(), strict=True))))


@method("direct logit attribution (readout apart)")
def direct_apart(case: Case) -> Answer:
    """The same, where what the changed readout made of everybody's writes counts for the unembedding alone."""
    change = written(case)
    names, values = change["component"].values.tolist(), change["output_changed"].values.tolist()
    found = dict(zip(names, values, strict=True))
    return Answer(case.scores(found | {"unembed": found["unembed"] + float(change["readout_changed"].sum())}))
