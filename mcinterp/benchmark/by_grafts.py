"""Methods that move weights from one stage into the other, group by group or all along a line."""

import xarray as xr

from mcinterp.benchmark.case import METRIC, Answer, Case, method, towards_collapse
from mcinterp.weights.grafts import graft_sweep
from mcinterp.weights.shapley import graft_shapley
from mcinterp.weights.update import update_attribution

ORDERS = 4


@method("graft base->tuned")
def graft_base_to_tuned(case: Case) -> Answer:
    """How much of the attractor's log-odds is lost with the base's weights in a component: is it necessary?"""
    return Answer(case.scores(grafted(case, "base_to_tuned")))


@method("graft tuned->base")
def graft_tuned_to_base(case: Case) -> Answer:
    """How much log-odds the tuned weights of a component alone give the base: is it sufficient?"""
    return Answer(case.scores(grafted(case, "tuned_to_base")))


def grafted(case: Case, direction: str) -> dict[str, float]:
    """Mean effect of every graft of a direction towards the collapse."""
    found = graft_sweep(case.chain, case.sequences, by=case.by, directions=[direction], metrics=[METRIC])
    return by_component(towards_collapse(found, direction))


@method("Shapley over grafts")
def shapley(case: Case) -> Answer:
    """Mean effect of a component's tuned weights when they join, over a few orders of joining."""
    found = graft_shapley(case.chain, case.sequences, METRIC, by=case.by, orders=ORDERS)
    return Answer(case.scores(by_component(found["shapley"].mean("prompt"))))


@method("path integral of the update")
def path_integral(case: Case) -> Answer:
    """A component's part of the integral of the log-odds' derivative along the straight line from base to tuned."""
    found = update_attribution(case.chain, case.sequences, METRIC, by=case.by, steps="base")
    return Answer(case.scores(by_component(found["attribution"].isel(stage=-1).mean("prompt"))))


def by_component(values: xr.DataArray) -> dict[str, float]:
    """Values by the names of components."""
    return dict(zip(values["component"].values.tolist(), values.values.tolist(), strict=True))
