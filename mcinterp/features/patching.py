"""Patches along features: the recipient keeps its error, and some features take the donor's values.

x_recipient + sum over f in S of (a_f of the donor - a_f of the recipient) d_f, at the autoencoder's place. With all
features and the error that is the plain patch of the place; with none it is the recipient.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from mcinterp.budget import halving
from mcinterp.chain import Chain
from mcinterp.errors import InputError
from mcinterp.features.autoencoder import SparseAutoencoder
from mcinterp.features.comparison import facts
from mcinterp.features.runs import Runs
from mcinterp.features.sets import CONTROLS, WHOLE, Asked, changes_of
from mcinterp.features.slopes import estimates
from mcinterp.intervene.inputs import PromptsLike, as_sequences, reads_of, require_token
from mcinterp.intervene.metrics import OF_ONE_RUN
from mcinterp.intervene.patching import BOTH
from mcinterp.intervene.places import PositionChoice
from mcinterp.intervene.plan import directions_of
from mcinterp.intervene.recovery import LEAST_DIFFERENCE, spread, with_recovery
from mcinterp.progress import Progress
from mcinterp.results import describe, with_provenance
from mcinterp.sequences import Sequences, provenance
from mcinterp.weights.grafts import way_labels
from mcinterp.weights.labels import prompt_labels

SIZES = (0, 1, 2, 4, 8, 16, 32, 64)


@halving
def patch_features(
    chain: Chain,
    prompts: PromptsLike,
    sae: SparseAutoencoder,
    *,
    features: Sequence[int] | xr.Dataset | None = None,
    sizes: Sequence[int] = SIZES,
    positions: PositionChoice = "last",
    directions: Sequence[str] = BOTH,
    metric: str = "attractor_log_odds",
    draws: int = 5,
    read_at: int = 0,
    attractor: int | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """Patch the first 0, 1, 2, 4, ... features of a ranking together, in both directions, beside controls.

    Args:
        chain: A pair or chain of checkpoints.
        prompts: Texts, prompts, rendered prompts, or teacher-forced sequences.
        sae: The autoencoder, which names the place.
        features: Features, the most important first; or what `compare_features` gave, on other prompts best, whose
            estimates rank them in each direction; without, they are ranked by estimates on these very prompts, which
            favours them.
        sizes: How many are patched together; those beyond the ranking are left out. A ranking of your own also has its
            whole length.
        positions: `last`, `all` and so on, as for `mcinterp.patch`; they are patched together.
        directions: See `mcinterp.patch`.
        metric: What estimates rank by.
        draws: Random sets and random directions beside each.
        read_at: The position whose distribution is read.
        attractor: The followed token id; by default the later stage's most likely token.
        seed: Fixes the random sets and directions.

    Returns:
        A dataset over `prompt, direction, size` with `entropy`, `attractor_log_prob` and `attractor_log_odds` (nats)
        and their `_recovery` (share of the gap between the ends) and `_site_recovery` (share of what the plain patch of
        the place does); `<metric>_control` with the axes `control, draw`: `random_features`, as many others that are
        active in the prompt at those tokens as the set has of such (missing where there are too few), and
        `random_direction`, a step as long as the set's, token by token; and over `prompt, direction, whole`
        `<metric>_whole`: `site` (all features and the error), `features` (all, error kept) and `error` alone;
        `<metric>_donor` and `<metric>_recipient` are the ends. `feature_rank` over `direction, rank` says which
        features were used, -1 where there are no more. `mcinterp.features.curve.feature_curve` sums it up.

    Raises:
        InputError: For an autoencoder that does not fit, features that it does not have, or anything else that does
            not exist.
    """
    for stage in chain.stages:
        sae.require_fits(stage)
    sequences, followed = as_sequences(chain, prompts), require_token(chain, attractor)
    (read,), ways = reads_of(sequences, read_at), directions_of(chain, directions, same_run=True)
    require_numbers(sizes, draws, metric)
    each = [Runs(chain, way, sequences, sae, positions, read, followed) for way in ways]
    ranked = [ranking(runs, features, metric) for runs in each]
    asked = Asked(sizes_of(sizes, features, ranked), draws, seed)
    values = np.stack([run(runs, order, asked) for runs, order in zip(each, ranked, strict=True)], axis=2)
    dataset = labelled(chain, sequences, each, ranked, asked, values)
    dataset = with_site_recovery(with_recovery(dataset, OF_ONE_RUN))
    dataset.attrs["noise_floor"] = max(runs.noise for runs in each)
    how = "given" if features is not None and not isinstance(features, xr.Dataset) else "by estimate"
    own = "these prompts" if features is None else "given"
    return with_provenance(
        describe(dataset), analysis="patch_features", positions=str(positions), read_at=read, draws=draws, seed=seed,
        metric=metric, ranked=f"{how}, {own}", autoencoder=facts(sae), **provenance(chain, sequences),
    )  # fmt: skip


def require_numbers(sizes: Sequence[int], draws: int, metric: str) -> None:
    """Refuse sizes, draws and metrics that mean nothing."""
    if not len(sizes) or min(sizes) < 0:
        raise InputError(f"got sizes {list(sizes)}; give some numbers from 0.")
    if draws < 1:
        raise InputError(f"{draws} random sets were asked for; give 1 or more.")
    if metric not in OF_ONE_RUN:
        raise InputError(f"metric {metric!r} is unknown; give one of {', '.join(OF_ONE_RUN)}.")


def ranking(runs: Runs, features: Sequence[int] | xr.Dataset | None, metric: str) -> list[int]:
    """Features of one direction, the most important first."""
    if features is None:
        return by_size(estimates(runs, metric).mean(axis=0))
    if isinstance(features, xr.Dataset):
        if "estimate" not in features or runs.way.name not in features["direction"].values:
            raise InputError(
                f"the ranking has no estimates of the direction {runs.way.name!r}; give what compare_features returned."
            )
        found = features["estimate"].sel(direction=runs.way.name).values
        if len(found) != runs.sae.n_features:
            raise InputError(
                f"the ranking is of {len(found)} features and the autoencoder has {runs.sae.n_features}; give what "
                f"compare_features returned for it."
            )
        return by_size(found)
    chosen = [int(feature) for feature in features]
    beyond = [feature for feature in chosen if not 0 <= feature < runs.sae.n_features]
    if beyond or len(set(chosen)) < len(chosen):
        raise InputError(
            f"got features {chosen[:8]} and the autoencoder has 0 to {runs.sae.n_features - 1}; give each one once."
        )
    return chosen


def by_size(values: np.ndarray) -> list[int]:
    """Numbers of the values that are not zero, the largest in size first."""
    order = np.argsort(-np.abs(values), kind="stable")
    return order[values[order] != 0].tolist()


def sizes_of(sizes: Sequence[int], features: Any, ranked: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """The asked sizes that some ranking reaches; 0 is always among them where nothing else is."""
    most = max(len(order) for order in ranked)
    own = [most] if features is not None and not isinstance(features, xr.Dataset) else []
    return tuple(sorted({int(size) for size in (*sizes, *own) if size <= most} or {0}))


def run(runs: Runs, order: Sequence[int], asked: Asked) -> np.ndarray:
    """Every run of one direction over metric, prompt and variant (as `Asked.variants` lists them)."""
    found = np.full((len(OF_ONE_RUN), len(runs.own), len(asked.variants)), np.nan)
    for prompt in Progress(range(len(runs.own)), desc=f"features, {runs.way.name}", unit="prompt"):
        changes = changes_of(runs, prompt, order, asked)
        there = [number for number, change in enumerate(changes) if change is not None]
        values = runs.patched(prompt, [change for change in changes if change is not None])
        for metric, name in enumerate(OF_ONE_RUN):
            found[metric, prompt, there] = values[name]
    return found


def labelled(
    chain: Chain,
    sequences: Sequences,
    each: Sequence[Runs],
    ranked: Sequence[Sequence[int]],
    asked: Asked,
    values: np.ndarray,
) -> xr.Dataset:
    """Everything that was read; `values` are over metric, prompt, direction and variant."""
    n_sizes, cells = len(asked.sizes), ("prompt", "direction")
    data: dict[str, tuple[tuple[str, ...], np.ndarray]] = {}
    for name, found in zip(OF_ONE_RUN, values.astype(np.float32), strict=True):
        kept, wholes, rest = np.split(found, [n_sizes, n_sizes + len(WHOLE)], axis=-1)
        controls = rest.reshape(*rest.shape[:2], len(CONTROLS), asked.draws, n_sizes)
        data[name], data[f"{name}_whole"] = ((*cells, "size"), kept), ((*cells, "whole"), wholes)
        data[f"{name}_control"] = ((*cells, "size", "control", "draw"), np.moveaxis(controls, -1, 2))
        for end in ("donor", "recipient"):
            ends = np.stack([runs.ends[end][name] for runs in each], axis=-1)
            data[f"{name}_{end}"] = (cells, ends.astype(np.float32))
    longest = max(1, asked.sizes[-1])
    used = [[*order[:longest], *[-1] * (longest - len(order))] for order in ranked]
    data["feature_rank"] = (("direction", "rank"), np.asarray(used, dtype=np.int32))
    coords: dict[str, Any] = {**prompt_labels(sequences), **way_labels(chain, [runs.way for runs in each])}
    coords |= {"size": list(asked.sizes), "whole": list(WHOLE), "control": list(CONTROLS)}
    return xr.Dataset(data, coords={**coords, "draw": np.arange(asked.draws), "rank": np.arange(longest)})


def with_site_recovery(dataset: xr.Dataset) -> xr.Dataset:
    """The dataset with `<metric>_site_recovery`: the set's effect over that of the plain patch of the place."""
    added = {}
    for name in OF_ONE_RUN:
        recipient = spread(dataset[f"{name}_recipient"], dataset[name])
        gap = spread(dataset[f"{name}_whole"].sel(whole="site"), dataset[name]) - recipient
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.where(np.abs(gap) >= LEAST_DIFFERENCE, (dataset[name].values - recipient) / gap, np.nan)
        added[f"{name}_site_recovery"] = (dataset[name].dims, share.astype(np.float32))
    return dataset.assign(added)
