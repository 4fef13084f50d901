"""What each kind of evidence says about every site, prompt by prompt, in nats of the attractor's log-odds.

Kinds that the score weighs: `update`, the path integral of the update (its parts sum to the whole); `graft_necessity`
and `graft_sufficiency`, one component's weights of the base in the tuned stage and the reverse. Kinds that are shown
and count for nothing: `patch_necessity` and `patch_sufficiency`, a component's output exchanged at all positions, which
credits what the effect flows through as well as where it begins, with `random_necessity` and `random_sufficiency`, a
random change of equal size; `answer_necessity` and `answer_sufficiency`, patches at the read positions alone, which
miss what acts upstream of them; `written`, direct logit attribution, and `lens_own` and `lens_common`, the growth of
the gap under a logit lens, which say where the token is readable.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import xarray as xr

from mcinterp.intervene.patching import BOTH
from mcinterp.localisation.activations import ASKED, RANDOM, patched_components
from mcinterp.localisation.readable import read_by_lens, written
from mcinterp.localisation.setting import METRIC, WAYS, Setting
from mcinterp.results import derived, describe, with_provenance
from mcinterp.sequences import provenance
from mcinterp.weights.grafts import graft_sweep
from mcinterp.weights.groups import groups_of
from mcinterp.weights.labels import component_labels, prompt_labels
from mcinterp.weights.update import MOST_ERROR, update_attribution

WEIGHED = ("update", "graft_necessity", "graft_sufficiency")
FLOWING = ("patch_necessity", "patch_sufficiency", "random_necessity", "random_sufficiency")
AT_ANSWER = ("answer_necessity", "answer_sufficiency")
READABLE = ("written", "lens_own", "lens_common")
KINDS = (*WEIGHED, *FLOWING, *AT_ANSWER, *READABLE)


def evidence(one: Setting, by: str = "component") -> xr.Dataset:
    """Every kind of evidence about every component (or head).

    Over `prompt, component`: a variable a kind (nats; positive is towards the collapse, missing where a kind does not
    reach: a patch behind the last layer, an attribution whose sum misses its total), `graft_entropy` (nats of entropy
    that the base's weights bring back), and over `prompt`, `log_odds_gap`, the whole change, and `entropy_gap`.
    Attribute `completeness_error`: the largest of the attributions that count.
    """
    groups = groups_of(one.chain.base, by)
    names = [group.name for group in groups]
    update = update_attribution(one.chain, one.sequences, METRIC, by=by, beyond="missing", **one.read).isel(stage=0)
    grafts = graft_sweep(one.chain, one.sequences, by=by, metrics=(METRIC, "entropy"), **one.read)
    found = {
        "update": update["attribution"].transpose("prompt", "component").values,
        **{f"graft_{kind}": moved(grafts.sel(direction=direction)) for direction, kind in WAYS.items()},
        **by_activations(one, by, names),
        "written": written(one, by, names),
        **{f"lens_{lens}": read_by_lens(one, names, lens) for lens in ("own", "common")},
        "graft_entropy": moved(grafts.sel(direction=BOTH[0]), "entropy"),
    }
    ends = grafts.sel(direction=BOTH[1])
    cells = ("prompt", "component")
    data: dict[str, Any] = {name: (cells, values.astype(np.float32)) for name, values in found.items()}
    data["log_odds_gap"] = ("prompt", (ends[f"{METRIC}_donor"] - ends[f"{METRIC}_recipient"]).values)
    data["entropy_gap"] = ("prompt", (ends["entropy_donor"] - ends["entropy_recipient"]).values)
    dataset = xr.Dataset(data, coords={**prompt_labels(one.sequences), **component_labels(groups)})
    error = update["completeness_error"].values
    accepted = error[error <= MOST_ERROR]
    dataset.attrs["completeness_error"] = float(accepted.max()) if accepted.size else float("nan")
    return with_provenance(
        describe(dataset), analysis="evidence", by=by, metric=METRIC, read_at=list(one.reads),
        **provenance(one.chain, one.sequences),
    )  # fmt: skip


def by_activations(one: Setting, by: str, names: Sequence[str]) -> dict[str, np.ndarray]:
    """What patches of outputs do, over prompt and component.

    At all positions, beside a random change of equal size, and at the read positions alone.
    """
    found = {kind: np.full((len(one.sequences), len(names)), np.nan) for kind in (*FLOWING, *AT_ANSWER)}
    kinds = {ASKED: "patch", RANDOM: "random"}
    for direction, name, donor, values in patched_components(one, by, controls=True):
        found[f"{kinds[donor]}_{WAYS[direction]}"][:, names.index(name)] = values
    for direction, name, _, values in patched_components(one, by, slice(one.reads[0], None)):
        found[f"answer_{WAYS[direction]}"][:, names.index(name)] = values
    return found


def moved(grafts: xr.Dataset, metric: str = METRIC) -> np.ndarray:
    """How far one direction's grafts move the recipient towards its donor, signed as the change from base to tuned.

    A graft of base weights that lowers the log-odds is evidence for its component, so it counts positive.
    """
    change = (grafts[metric] - grafts[f"{metric}_recipient"]).transpose("prompt", "component").values
    return -change if grafts["direction"].item() == BOTH[0] and metric == METRIC else change


def pair_evidence(one: Setting, names: Sequence[str]) -> xr.Dataset:
    """Grafts of every pair of some components together: `necessity` and `sufficiency` over `prompt, pair` (nats).

    The coordinates `first` and `second` name the two.
    """
    pairs = list(combinations(names, 2))
    groups = {f"{first} + {second}": (first, second) for first, second in pairs}
    grafts = graft_sweep(one.chain, one.sequences, groups=groups, metrics=(METRIC,), **one.read)
    data = {kind: (("prompt", "pair"), moved(grafts.sel(direction=direction))) for direction, kind in WAYS.items()}
    coords = {**prompt_labels(one.sequences), "pair": list(groups)}
    coords |= {end: ("pair", [pair[i] for pair in pairs]) for i, end in enumerate(("first", "second"))}
    return derived(xr.Dataset(data, coords=coords).astype(np.float32), grafts, analysis="pair_evidence")
