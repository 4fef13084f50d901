"""What each kind of evidence says about every site, prompt by prompt, in nats of the attractor's log-odds.

Kinds that the score weighs: `update`, the path integral of the update (its parts sum to the whole); `graft_necessity`
and `graft_sufficiency`, one component's weights of the base in the tuned stage and the reverse. Kinds that are shown
and count for nothing: `patch_necessity` and `patch_sufficiency`, a component's output exchanged at all positions, which
credits what the effect flows through as well as where it begins; `answer_necessity` and `answer_sufficiency`, the same
at the read positions alone, which miss what acts upstream of them; `written`, direct logit attribution, which says
where the token is readable.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from mcinterp.attribution.direct import direct_logit_attribution
from mcinterp.chain import Chain
from mcinterp.intervene.patching import BOTH, patch
from mcinterp.results import derived, describe, with_provenance
from mcinterp.sequences import Sequences, provenance
from mcinterp.weights.grafts import graft_sweep
from mcinterp.weights.groups import Group, groups_of
from mcinterp.weights.labels import component_labels, prompt_labels
from mcinterp.weights.update import MOST_ERROR, update_attribution

METRIC = "attractor_log_odds"
WAYS: dict[str, str] = dict(zip(BOTH, ("necessity", "sufficiency"), strict=True))
AT_ANSWER = ("answer_necessity", "answer_sufficiency")
WEIGHED = ("update", "graft_necessity", "graft_sufficiency")
FLOWING = ("patch_necessity", "patch_sufficiency")
READABLE = ("written",)
KINDS = (*WEIGHED, *FLOWING, *AT_ANSWER, *READABLE)
OUTPUTS = {"attn_out": "attn", "mlp_out": "mlp"}


class Setting(NamedTuple):
    """A pair, the sequences and positions that are read, and the followed token."""

    chain: Chain
    sequences: Sequences
    reads: tuple[int, ...]
    attractor: int | None

    @property
    def read(self) -> dict[str, Any]:
        """Where it is read and which token is followed, as analyses take it."""
        return {"read_at": self.reads, "attractor": self.attractor}


def evidence(one: Setting, by: str = "component") -> xr.Dataset:
    """Every kind of evidence about every component (or head).

    Over `prompt, component`: a variable a kind (nats; positive is towards the collapse, missing where a kind does not
    reach: a patch behind the last layer, an attribution whose sum misses its total), `graft_entropy` (nats of entropy
    that the base's weights bring back), and over `prompt`, `log_odds_gap`, the whole
    change, and `entropy_gap`.
    Attribute `completeness_error`: the largest of the attributions that count.
    """
    groups = groups_of(one.chain.base, by)
    names = [group.name for group in groups]
    found: dict[str, np.ndarray] = {
        kind: np.full((len(one.sequences), len(names)), np.nan) for kind in (*WEIGHED, *FLOWING, *AT_ANSWER)
    }
    update = update_attribution(one.chain, one.sequences, METRIC, by=by, beyond="missing", **one.read).isel(stage=0)
    found["update"] = update["attribution"].transpose("prompt", "component").values
    grafts = graft_sweep(one.chain, one.sequences, by=by, metrics=(METRIC, "entropy"), **one.read)
    for direction, kind in WAYS.items():
        found[f"graft_{kind}"] = moved(grafts.sel(direction=direction))
    for direction, name, values in patched_components(one, by):
        found[f"patch_{WAYS[direction]}"][:, names.index(name)] = values
    for direction, name, values in patched_components(one, by, slice(one.reads[0], None)):
        found[f"answer_{WAYS[direction]}"][:, names.index(name)] = values
    found["written"] = written(one, by, names)
    found["graft_entropy"] = moved(grafts.sel(direction=BOTH[0]), "entropy")
    ends = grafts.sel(direction=BOTH[1])
    error = update["completeness_error"].values
    cells = ("prompt", "component")
    data: dict[str, Any] = {name: (cells, values.astype(np.float32)) for name, values in found.items()}
    data["log_odds_gap"] = ("prompt", (ends[f"{METRIC}_donor"] - ends[f"{METRIC}_recipient"]).values)
    data["entropy_gap"] = ("prompt", (ends["entropy_donor"] - ends["entropy_recipient"]).values)
    dataset = xr.Dataset(data, coords={**prompt_labels(one.sequences), **component_labels(groups)})
    accepted = error[error <= MOST_ERROR]
    dataset.attrs["completeness_error"] = float(accepted.max()) if accepted.size else float("nan")
    return with_provenance(
        describe(dataset), analysis="evidence", by=by, metric=METRIC, read_at=list(one.reads),
        **provenance(one.chain, one.sequences),
    )  # fmt: skip


def moved(grafts: xr.Dataset, metric: str = METRIC) -> np.ndarray:
    """How far one direction's grafts move the recipient towards its donor, signed as the change from base to tuned.

    A graft of base weights that lowers the log-odds is evidence for its component, so it counts positive.
    """
    change = (grafts[metric] - grafts[f"{metric}_recipient"]).transpose("prompt", "component").values
    return -change if grafts["direction"].item() == BOTH[0] and metric == METRIC else change


def patched_components(one: Setting, by: str, positions: str | slice = "all") -> Iterator[tuple[str, str, np.ndarray]]:
    """Direction, component and effect over prompts of the outputs that can be patched, at some positions together.

    Heads are not among them: their `z` lies before the output matrix, and says nothing of what changed in it.
    """
    options: dict[str, Any] = {"positions": positions, "metrics": (METRIC,), "controls": False, "interaction": False}
    sites = ("mlp_out",) if by == "head" else tuple(OUTPUTS)
    yield from effects_of(patch(one.chain, one.sequences, sites=sites, **options, **one.read))
    embedded = patch(one.chain, one.sequences, sites=("resid_pre",), layers=0, **options, **one.read)
    for direction, _, values in effects_of(embedded):
        yield direction, "embed", values


def effects_of(patched: xr.Dataset) -> Iterator[tuple[str, str, np.ndarray]]:
    """Every cell of a sweep as direction, component and effect; read positions are averaged."""
    effect = patched[METRIC] - patched[f"{METRIC}_recipient"]
    effect = effect.mean("read_at") if "read_at" in effect.dims else effect
    for cell in effect.stack(cell=["direction", "site", "layer"]).transpose("cell", "prompt"):
        direction = str(cell["direction"].item())
        name = f"{int(cell['layer'])}.{OUTPUTS.get(str(cell['site'].item()), 'other')}"
        yield direction, name, -cell.values if direction == BOTH[0] else cell.values


def written(one: Setting, by: str, names: Sequence[str]) -> np.ndarray:
    """What each component writes into the attractor's logit against the plausible tokens, tuned minus base."""
    options = {"by": by if by == "head" else "component", "against": "plausible"}
    direct = direct_logit_attribution(one.chain, one.sequences, **options, **one.read)["attribution"]
    change = (direct.isel(stage=1) - direct.isel(stage=0)).transpose("prompt", "component")
    there = change["component"].values.tolist()
    columns = [change.values[:, there.index(name)] if name in there else np.full(len(change), np.nan) for name in names]
    return np.stack(columns, axis=1)


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


def by_position(one: Setting, components: Sequence[str]) -> xr.Dataset:
    """Where some components act: their outputs patched at one position at a time.

    Over `prompt, component, position` (0 is the last prompt token; missing where a prompt is shorter): `necessity` and
    `sufficiency`, nats of log-odds towards the collapse. Components whose output cannot be patched are left out.
    """
    groups = {group.name: group for group in groups_of(one.chain.base, "component")}
    names = [name for name in components if groups[name].site in (*OUTPUTS.values(), "embed")]
    pieces = [position_effects(one, groups[name]) for name in names]
    if not pieces:
        return xr.Dataset()
    dataset = xr.concat(pieces, dim="component").assign_coords(
        **prompt_labels(one.sequences), **component_labels([groups[name] for name in names])
    )
    return with_provenance(describe(dataset), analysis="by_position", **provenance(one.chain, one.sequences))


def position_effects(one: Setting, group: Group) -> xr.Dataset:
    """One component's effects over prompt and position, both ways."""
    site = "resid_pre" if group.site == "embed" else next(out for out, name in OUTPUTS.items() if name == group.site)
    patched = patch(
        one.chain, one.sequences, sites=(site,), layers=group.layer or 0, positions="each", each_position=True,
        metrics=(METRIC,), controls=False, interaction=False, **one.read,
    )  # fmt: skip
    effect = patched[METRIC] - patched[f"{METRIC}_recipient"]
    effect = effect.mean("read_at") if "read_at" in effect.dims else effect
    effect = effect.squeeze(["site", "layer"], drop=True).transpose("prompt", "position", "direction")
    signs = {BOTH[0]: -1, BOTH[1]: 1}
    data = {kind: signs[way] * effect.sel(direction=way, drop=True) for way, kind in WAYS.items()}
    return xr.Dataset(data).reset_coords(drop=True).astype(np.float32)
