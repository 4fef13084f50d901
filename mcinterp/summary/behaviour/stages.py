"""At which stage a collapse comes in, as plain numbers: levels, and steps from each stage to the next.

Every figure has a 95 % interval by bootstrap over templates; steps are of the same prompts, so their intervals are too.
"""

from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from mcinterp.statistics import bootstrap
from mcinterp.summary.behaviour.lines import interval, table

DRAWS = 1000
MEASURES: dict[str, str] = {
    "entropy": "entropy after the prompt (nats)",
    "kl_stage_to_base": "KL(stage || base) (nats)",
    "collapsed": "prompts collapsed (share)",
    "temperature_share": "of that KL a temperature (share)",
    "unshifted": "first token the base's own (share)",
    "shifted": "first token below the base's third (share)",
    "distinct": "different samples (share)",
    "base_nll": "surprise of samples to the base (nats/token)",
}
CLASSES = {"unshifted": 0, "marginal": 1, "shifted": 2}
Parts = Float[np.ndarray, "prompt part stage"]


def summary(dataset: xr.Dataset) -> dict[str, Any]:
    """Levels by stage and measure, and steps of every measure from each stage to the next.

    Units are those of `MEASURES`; `temperature_share` is the sum of what a temperature explains over the sum of the
    KL (missing for the base), and `marginal` the share of first tokens that are the base's second or third.
    """
    stages = [str(stage) for stage in dataset["stage"].values]
    found: dict[str, Any] = {"stages": stages, "n_prompts": dataset.sizes["prompt"], "levels": {}, "steps": {}}
    for name in (*MEASURES, "marginal", "end_probability", "entropy_without_end"):
        ends = bootstrap(parts(dataset, name), dataset["template"].values.tolist(), levels_and_steps, draws=DRAWS)
        each = [ends.at(index) for index in range(len(ends.mean))]
        found["levels"][name] = dict(zip(stages, each[: len(stages)], strict=True))
        pairs = [f"{before} to {after}" for before, after in pairwise(stages)]
        found["steps"][name] = dict(zip(pairs, each[len(stages) :], strict=True))
    return found


def headline(found: dict[str, Any]) -> str:
    """Every measure of every stage, then what each step does to the entropy."""
    levels, stages = found["levels"], found["stages"]
    rows = [[title, *(interval(levels[name][stage]) for stage in stages)] for name, title in MEASURES.items()]
    steps = [f"entropy, {step}: {interval(one)}" for step, one in found["steps"]["entropy"].items()]
    return "\n".join([table(["measure", *stages], rows), *steps])


def parts(dataset: xr.Dataset, name: str) -> Parts:
    """Numerator and denominator of a measure on every prompt and stage; the latter is 1 where the measure is a mean."""
    if name == "temperature_share":
        above, below = dataset["temperature_part"], dataset["kl_stage_to_base"]
    else:
        above = dataset["shift_class"] == CLASSES[name] if name in CLASSES else dataset[name]
        below = above.notnull()
    return np.stack([each.transpose("prompt", "stage").values.astype(float) for each in (above, below)], axis=1)


def levels_and_steps(values: Parts) -> Float[np.ndarray, "level"]:
    """Sum over sum of every stage, then the step from each stage to the next; missing where there is nothing."""
    above, below = np.nansum(values, axis=0)
    levels = np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 1e-6)
    return np.concatenate([levels, np.diff(levels)])
