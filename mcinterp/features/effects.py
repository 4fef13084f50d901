"""What patching single features does: estimated for all, really run for those with the largest estimates."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr

from mcinterp.chain import Chain
from mcinterp.features.autoencoder import SparseAutoencoder
from mcinterp.features.runs import Change, Runs
from mcinterp.features.slopes import estimates
from mcinterp.intervene.places import PositionChoice
from mcinterp.intervene.plan import Direction
from mcinterp.progress import Progress
from mcinterp.sequences import Sequences
from mcinterp.statistics import bootstrap
from mcinterp.weights.grafts import way_labels

DIMS = ("direction", "feature")


def effects_of(
    chain: Chain,
    ways: Sequence[Direction],
    sequences: Sequences,
    sae: SparseAutoencoder,
    positions: PositionChoice,
    read_at: int,
    attractor: int | None,
    metric: str,
    top: int,
) -> xr.Dataset:
    """`estimate` and `feature_effect` over direction and feature with intervals, and `donor_gap` over direction."""
    all_runs = [Runs(chain, way, sequences, sae, positions, read_at, attractor) for way in ways]
    expected = np.stack([estimates(runs, metric) for runs in all_runs], axis=1)
    chosen = largest(expected, top)
    found = [real_effects(runs, metric, chosen) for runs in Progress(all_runs, desc="features", unit="direction")]
    templates = sequences.prompts.templates
    data = spread("estimate", expected, np.flatnonzero(expected.any(axis=(0, 1))), templates, sae.n_features, 0.0)
    data |= spread("feature_effect", np.stack(found, axis=1), chosen, templates, sae.n_features, np.nan, picked=True)
    gaps = [(runs.ends["donor"][metric] - runs.ends["recipient"][metric]).mean() for runs in all_runs]
    data["donor_gap"] = (("direction",), np.asarray(gaps))
    coords: dict[str, Any] = {**way_labels(chain, ways), "feature": np.arange(sae.n_features)}
    dataset = xr.Dataset({name: (dims, v.astype(np.float32)) for name, (dims, v) in data.items()}, coords=coords)
    return dataset.assign_attrs(noise_floor=max(runs.noise for runs in all_runs))


def largest(expected: np.ndarray, top: int) -> np.ndarray:
    """The features with the largest mean estimate in any direction, largest first; none that is zero everywhere."""
    size = np.abs(expected.mean(axis=0)).max(axis=0)
    order = np.argsort(-size, kind="stable")[:top]
    return order[size[order] > 0]


def real_effects(runs: Runs, metric: str, chosen: np.ndarray) -> np.ndarray:
    """Patched minus unpatched over prompt and chosen feature, nats."""
    found = np.zeros((len(runs.own), len(chosen)))
    for prompt in range(len(runs.own)):
        steps = [step_of(runs, prompt, [int(feature)]) for feature in chosen]
        values = runs.patched(prompt, [adding(step) for step in steps])[metric]
        found[prompt] = values - runs.ends["recipient"][metric][prompt]
    return found


def step_of(runs: Runs, prompt: int, features: Sequence[int]) -> torch.Tensor:
    """What patching some features adds to a prompt's activations: sum of (c_donor - c_recipient) d_f."""
    own, other = runs.codes(prompt)
    chosen = list(features)
    return (other.coefficients[:, chosen] - own.coefficients[:, chosen]) @ runs.sae.W_dec[chosen]


def adding(step: torch.Tensor) -> Change:
    """The change of activations that adds a step; a step of nothing leaves them as they are."""
    return lambda x: x + step.to(x)


def spread(
    name: str,
    values: np.ndarray,
    at: np.ndarray,
    templates: Sequence[str],
    count: int,
    blank: float,
    *,
    picked: bool = False,
) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
    """Mean over prompts and interval of some features, spread over all of them."""
    interval = bootstrap((values if picked else values[..., at]).astype(float), templates)
    found = {}
    for key, value in interval.named(name).items():
        whole = np.full((values.shape[1], count), blank)
        whole[:, at] = value
        found[key] = (DIMS, whole)
    return found
