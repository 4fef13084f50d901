"""Attribution patching: a first-order estimate of what patching each site would do, from one backward pass.

The estimate is (a_donor - a_recipient) * dM/da at the recipient's own activations, summed over what is patched (Nanda
2023). It is a screen: cheap for any number of cells, wrong where M bends between the two activations. The exact sweep
of its strongest cells stands beside it.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
import xarray as xr

from mcinterp.batching import Batch
from mcinterp.budget import halving
from mcinterp.chain import Chain, Stage
from mcinterp.errors import InputError
from mcinterp.intervene.cells import Heads, Request, n_heads, request_for
from mcinterp.intervene.holding import tokens_second
from mcinterp.intervene.inputs import PromptsLike, as_sequences, reads_of, require_token
from mcinterp.intervene.metrics import OF_ONE_RUN
from mcinterp.intervene.patching import BOTH, STANDARD, patch
from mcinterp.intervene.places import PositionChoice, chosen_positions
from mcinterp.intervene.plan import Direction, directions_of
from mcinterp.intervene.sites import SITES, SiteName, hook_name
from mcinterp.progress import Progress
from mcinterp.results import describe, with_provenance
from mcinterp.sequences import Sequences, provenance
from mcinterp.weights.calls import begin_graph
from mcinterp.weights.grafts import way_labels
from mcinterp.weights.labels import prompt_labels
from mcinterp.weights.scalar import Judged, Scalar, judge, log_probs_of, scalar_named
from mcinterp.weights.tensors import without_gradients

Place = tuple[str, int]


@halving
def attribution_patching(
    chain: Chain,
    prompts: PromptsLike,
    *,
    sites: Sequence[SiteName] = STANDARD,
    layers: int | Sequence[int] | None = None,
    positions: PositionChoice = "last",
    heads: Heads = None,
    directions: Sequence[str] = BOTH,
    metric: str = "attractor_log_odds",
    read_at: int | Sequence[int] = 0,
    attractor: int | None = None,
    exact: int = 0,
) -> xr.Dataset:
    """Estimate the effect of every patch by its gradient, and run the strongest ones exactly.

    Args:
        chain: A pair or chain of checkpoints.
        prompts: Texts, prompts, rendered prompts, or teacher-forced sequences.
        sites, layers, positions, heads, directions: As for `mcinterp.patch`; positions are patched together.
        metric: `entropy`, `attractor_log_prob` or `attractor_log_odds`.
        read_at: Positions whose next-token distribution is read; several are averaged.
        attractor: The followed token id; by default, in every direction, the later stage's most likely token.
        exact: How many cells, the strongest of each direction, are also patched.

    Returns:
        A dataset over `prompt, direction, site, layer` (and `head`), in nats: `estimate`, the expected change of the
        metric; with `exact`, also `exact`, the real change (missing where it was not run), and over `direction`
        `rank_correlation`, Spearman's between the two over the cells that were run, of means over prompts.

    Raises:
        InputError: For sites, layers, heads, positions or stages that do not exist, joint sites, or another metric.
    """
    name, scalar = scalar_named(metric)
    if name not in OF_ONE_RUN:
        raise InputError(f"metric {name!r} compares with an end, whose gradient there is zero; give another.")
    request = request_for(chain, sites, layers, positions, each_position=False, heads=heads, neurons=None, window=1)
    odd = [site for site in request.sites if not isinstance(site, str) or site not in SITES or site == "final_scale"]
    if odd:
        raise InputError(f"site {odd[0]!r} cannot be screened by gradients; give single sites inside the layers.")
    sequences = as_sequences(chain, prompts)
    reads, followed = reads_of(sequences, read_at), require_token(chain, attractor)
    ways = directions_of(chain, directions, same_run=True)
    found = []
    for way in Progress(ways, desc="gradients", unit="direction"):
        judged = judge(chain, sequences, reads, followed, earlier=min(way[1:]), later=max(way[1:]))
        found.append(estimates(chain, way, judged, sequences, request, scalar))
    dataset = labelled(chain, sequences, request, ways, np.stack(found, axis=1))
    if exact:
        options = {"positions": positions, "directions": directions, "read_at": reads, "attractor": attractor}
        dataset = beside_exact(chain, sequences, dataset, name, exact, options)
    return with_provenance(
        describe(dataset), analysis="attribution_patching", metric=name, positions=str(positions),
        read_at=list(reads), **provenance(chain, sequences),
    )  # fmt: skip


def estimates(
    chain: Chain, way: Direction, judged: Judged, sequences: Sequences, request: Request, scalar: Scalar
) -> np.ndarray:
    """Estimated changes of one direction over prompt, site, layer and head (one entry where heads go together)."""
    recipient, donor = chain.stages[way.recipient], chain.stages[way.donor]
    places = [(str(site), layer) for site in request.sites for layer in request.layers]
    wanted = wanted_heads(chain.base, request)
    found = np.full((len(judged.ids), len(places), len(wanted)), np.nan)
    for batch, slopes, own, other in slopes_of(recipient, donor, judged, places, scalar):
        for line, prompt in enumerate(batch.indices):
            there = chosen_positions(sequences, prompt, request.positions)
            columns = columns_of(judged, sequences, prompt, there)
            for number, place in enumerate(places):
                step = other[place][line, columns].to(slopes[place].device) - own[place][line, columns]
                value = (step * slopes[place][line, columns]).double()
                by_head = per_head(value, place[0], wanted)
                found[prompt, number, : len(by_head)] = by_head
    return found.reshape(len(judged.ids), len(request.sites), len(request.layers), len(wanted))


def columns_of(judged: Judged, sequences: Sequences, prompt: int, positions: Sequence[int]) -> list[int]:
    """Columns of some positions of a prompt; those behind the last read one change nothing and are left out."""
    first = len(sequences.prompts.token_ids[prompt]) - 1
    return [first + position for position in positions if first + position < len(judged.ids[prompt])]


def wanted_heads(stage: Stage, request: Request) -> list[int | None]:
    """Heads that are told apart, or one None."""
    if request.heads is None:
        return [None]
    most = max(n_heads(stage, str(site)) for site in request.sites)
    return list(range(most)) if request.heads == "each" else [int(head) for head in request.heads]


def per_head(value: torch.Tensor, site: str, heads: Sequence[int | None]) -> list[float]:
    """Sums over everything but the head axis, where heads are told apart; over everything where they are not."""
    if heads == [None]:
        return [float(value.sum())]
    axis = 1
    summed = value.sum(dim=[i for i in range(value.ndim) if i != axis])
    return [float(summed[head]) if head is not None and head < len(summed) else float("nan") for head in heads]


def slopes_of(
    recipient: Stage, donor: Stage, judged: Judged, places: Sequence[Place], scalar: Scalar
) -> Iterator[tuple[Batch, dict[Place, torch.Tensor], dict[Place, torch.Tensor], dict[Place, torch.Tensor]]]:
    """Batch by batch: dM/da at every place of the recipient, its own activations, and the donor's; tokens second."""
    for reads in judged.batches(recipient.readout.vocabulary):
        with torch.no_grad(), donor.bridge.hooks(fwd_hooks=hooks_for(places, other := {})):
            log_probs_of(donor, reads)
        begin = recipient.bridge.embed.original_component.register_forward_hook(begin_graph)
        try:
            with without_gradients(recipient), torch.enable_grad():
                with recipient.bridge.hooks(fwd_hooks=hooks_for(places, own := {})):
                    values = scalar(judged.reading(log_probs_of(recipient, reads), reads.rows))
                total = (values * judged.weights(reads.rows).to(values.device)).sum()
                slopes = torch.autograd.grad(total, list(own.values()), allow_unused=True)
        finally:
            begin.remove()
        given = {p: zero_where_unused(a, s) for (p, a), s in zip(own.items(), slopes, strict=True)}
        slope, mine, theirs = ({p: tokens_second(p, a.detach()) for p, a in e.items()} for e in (given, own, other))
        yield reads.batch, slope, mine, theirs


def hooks_for(places: Sequence[Place], kept: dict[Place, torch.Tensor]) -> list[tuple[str, Any]]:
    """Hooks that keep the very activations that flow on, so that gradients can be taken at them."""

    def keep(place: Place, activation: torch.Tensor, hook: Any) -> torch.Tensor:
        kept[place] = activation
        return activation

    return [(hook_name(*place), partial(keep, place)) for place in places]


def zero_where_unused(activation: torch.Tensor, slope: torch.Tensor | None) -> torch.Tensor:
    """A gradient; zero where nothing depends on the activation."""
    return torch.zeros_like(activation) if slope is None else slope


def labelled(
    chain: Chain, sequences: Sequences, request: Request, ways: Sequence[Direction], values: np.ndarray
) -> xr.Dataset:
    """Estimates over prompt, direction, site, layer (and head)."""
    heads = wanted_heads(chain.base, request)
    dims = ("prompt", "direction", "site", "layer", *(("head",) if request.heads is not None else ()))
    data = values if request.heads is not None else values[..., 0]
    coords: dict[str, Any] = {**prompt_labels(sequences), **way_labels(chain, ways)}
    coords |= {"site": request.labels(), "layer": list(request.layers)}
    coords |= {"head": heads} if request.heads is not None else {}
    return xr.Dataset({"estimate": (dims, data.astype(np.float32))}, coords=coords)


def beside_exact(
    chain: Chain, sequences: Sequences, dataset: xr.Dataset, metric: str, count: int, options: dict[str, Any]
) -> xr.Dataset:
    """The dataset with the real effect of the strongest cells of every direction, and how well the order agrees."""
    mean = dataset["estimate"].mean("prompt")
    chosen = strongest(mean, count)
    real = xr.full_like(dataset["estimate"], np.nan)
    for site in dataset["site"].values.tolist():
        there = chosen.sel(site=site).any("direction")
        over = [name for name in ("layer", "head") if name in there.dims]
        which = {name: there[name].values[there.any([o for o in over if o != name]).values].tolist() for name in over}
        if which["layer"]:
            options |= {"heads": which["head"]} if "head" in which else {}
            change = exact_change(chain, sequences, site, which["layer"], metric, options)
            where = {"site": site, **which}
            real.loc[where] = change.transpose(*real.loc[where].dims).values
    real = real.where(chosen).transpose(*dataset["estimate"].dims)
    correlation = ("direction", rank_correlations(mean, real.mean("prompt")))
    return dataset.assign(exact=real.astype(np.float32), rank_correlation=correlation)


def strongest(mean: xr.DataArray, count: int) -> xr.DataArray:
    """Which cells of every direction have the largest estimates."""
    flat = np.nan_to_num(np.abs(mean.values)).reshape(mean.sizes["direction"], -1)
    chosen = np.zeros(flat.shape, dtype=bool)
    np.put_along_axis(chosen, np.argsort(-flat, axis=1, kind="stable")[:, :count], values=True, axis=1)
    return mean.copy(data=chosen.reshape(mean.shape))


def exact_change(
    chain: Chain, sequences: Sequences, site: str, layers: Sequence[int], metric: str, options: dict[str, Any]
) -> xr.DataArray:
    """The real change of a metric over prompt, direction and layer (and head), by patching one site."""
    found = patch(
        chain, sequences, sites=(site,), layers=layers, metrics=(metric,), controls=False, interaction=False, **options
    )
    change = (found[metric] - found[f"{metric}_recipient"]).sel(site=site, drop=True)
    return change.mean("read_at") if "read_at" in change.dims else change


def rank_correlations(estimate: xr.DataArray, exact: xr.DataArray) -> np.ndarray:
    """Spearman's rank correlation of every direction over the cells that both have."""
    found = []
    for direction in estimate["direction"].values:
        pair = np.stack([each.sel(direction=direction).values.ravel() for each in (estimate, exact)])
        there = pair[:, np.isfinite(pair).all(axis=0)]
        one, two = there.argsort(axis=1).argsort(axis=1)
        found.append(np.corrcoef(one, two).item(1) if len(one) > 2 else np.nan)
    return np.asarray(found, dtype=np.float32)
