"""Shapley values of groups of weights: each group's mean effect over all orders of grafting, by sampled orders."""

from collections.abc import Iterator, Sequence

import numpy as np
import xarray as xr

from mcinterp.budget import halving
from mcinterp.chain import Chain
from mcinterp.errors import InputError
from mcinterp.intervene.inputs import PromptsLike, as_sequences, reads_of, require_token
from mcinterp.intervene.plan import Direction
from mcinterp.progress import Progress
from mcinterp.results import describe, with_provenance
from mcinterp.sequences import provenance
from mcinterp.weights.grafting import graft_values
from mcinterp.weights.groups import Group, chosen_groups
from mcinterp.weights.labels import component_labels, prompt_labels
from mcinterp.weights.scalar import Judged, Scalar, judge, scalar_named

UP = Direction("tuned_to_base", -1, 0)


@halving
def graft_shapley(
    chain: Chain,
    prompts: PromptsLike,
    metric: str | Scalar = "attractor_log_odds",
    *,
    by: str = "component",
    orders: int = 16,
    read_at: int | Sequence[int] = 0,
    attractor: int | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """The Shapley value of every group for the change of a metric from base to tuned.

    A group's value is its effect when it is grafted into the base, averaged over orders in which groups are grafted one
    after the other (Shapley 1953; sampled as by Castro et al. 2009, every second order the reverse of the one before,
    which narrows the error). In every order the effects sum to the total, so the values do.

    Returns:
        A dataset over `prompt, component`: `shapley` and `shapley_error` (standard error over pairs of orders) in the
        metric's unit; over `prompt`, `total`.

    Raises:
        InputError: For fewer than 4 orders, an odd number of them, or an unknown metric or grouping.
    """
    if orders < 4 or orders % 2:
        raise InputError(f"got {orders} orders; give an even number of at least 4, for the error is taken over pairs.")
    chain.require_two()
    sequences = as_sequences(chain, prompts)
    reads, (name, scalar) = reads_of(sequences, read_at), scalar_named(metric)
    judged, groups = judge(chain, sequences, reads, require_token(chain, attractor)), chosen_groups(chain, by, None)
    ends = [judged.values(stage, {name: scalar})[name] for stage in (chain.base, chain.tuned)]
    effects = np.zeros((orders, len(sequences), len(groups)))
    walks = Progress(list(sampled(len(groups), orders, seed)), desc="shapley", unit="order")
    for number, walk in enumerate(walks):
        effects[number][:, walk] = steps(chain, judged, name, scalar, [groups[i] for i in walk], ends).T
    pairs = effects.reshape(orders // 2, 2, *effects.shape[1:]).mean(axis=1)
    error = pairs.std(axis=0, ddof=1) / np.sqrt(len(pairs))
    cells = ("prompt", "component")
    dataset = xr.Dataset(
        {
            "shapley": (cells, pairs.mean(axis=0).astype(np.float32)),
            "shapley_error": (cells, error.astype(np.float32)),
            "total": ("prompt", (ends[1] - ends[0]).astype(np.float32)),
        },
        coords={**prompt_labels(sequences), **component_labels(groups)},
    )
    return with_provenance(
        describe(dataset), analysis="graft_shapley", metric=name, by=by, orders=orders, seed=seed,
        read_at=list(reads), **provenance(chain, sequences),
    )  # fmt: skip


def sampled(count: int, orders: int, seed: int) -> Iterator[np.ndarray]:
    """Random orders of `count` things, each followed by its reverse."""
    random = np.random.default_rng(seed)
    for _ in range(orders // 2):
        order = random.permutation(count)
        yield order
        yield order[::-1]


def steps(
    chain: Chain, judged: Judged, name: str, scalar: Scalar, walk: Sequence[Group], ends: Sequence[np.ndarray]
) -> np.ndarray:
    """The effect of each group of an order when it joins those before it: over group and prompt."""
    way = UP._replace(donor=len(chain.stages) - 1)
    coalitions = [walk[: i + 1] for i in range(len(walk) - 1)]
    between = [found[name] for found in graft_values(chain, way, coalitions, judged, {name: scalar})]
    return np.diff(np.stack([ends[0], *between, ends[1]]), axis=0)
