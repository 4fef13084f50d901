"""Attribution of the fine-tuning update: how much of a metric's change each group of weights made.

Along the straight line W(a) = W_base + a * Delta, a metric M changes by the integral of dM/da, which is a sum over the
weights. A group's attribution is its part of that integral,

    A_g = sum over i in g of Delta_i * integral from 0 to 1 of dM/dW_i (W(a)) da,

so that the attributions of all groups sum to M(tuned) - M(base) exactly (integrated gradients, Sundararajan et al.
2017, with weights in the place of inputs). The integral is taken by Gauss-Legendre quadrature; what is missing from the
sum is reported.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr

from mcinterp.budget import halving
from mcinterp.chain import Chain, Stage
from mcinterp.errors import InputError
from mcinterp.intervene.inputs import PromptsLike, as_sequences, reads_of, require_token
from mcinterp.parts import completeness_error
from mcinterp.progress import Progress
from mcinterp.results import describe, with_provenance
from mcinterp.sequences import Sequences, provenance
from mcinterp.weights.calls import Calls
from mcinterp.weights.groups import Group, groups_of
from mcinterp.weights.labels import component_labels, prompt_labels
from mcinterp.weights.scalar import Judged, Scalar, judge, log_probs_of, scalar_named
from mcinterp.weights.tensors import changed_tensors, installed, slots_of, without_gradients

MOST_ERROR = 0.05
MOST_NODES = 64
STEPS = ("each", "base")
BEYOND = ("refuse", "missing")


@halving
def update_attribution(
    chain: Chain,
    prompts: PromptsLike,
    metric: str | Scalar = "attractor_log_odds",
    *,
    by: str = "component",
    nodes: int = 8,
    read_at: int | Sequence[int] = 0,
    attractor: int | None = None,
    steps: str = "each",
    limit: float = MOST_ERROR,
    beyond: str = "refuse",
) -> xr.Dataset:
    """Attribute the change of a metric from stage to stage to groups of weights.

    Args:
        chain: A pair or chain of checkpoints.
        prompts: Texts, prompts, rendered prompts, or teacher-forced sequences.
        metric: `entropy`, `attractor_log_prob`, `attractor_log_odds`, `kl_to_base`, `kl_to_tuned` (the earlier and the
            later stage of a step), or a differentiable function of a `mcinterp.intervene.metrics.Reading`.
        by: `tensor`, `head`, `component`, `layer` or `kind`; see `mcinterp.weights.groups`.
        nodes: Gauss-Legendre nodes. Prompts with a completeness error above `limit` are integrated again with twice as
            many, up to 64.
        read_at: Positions whose next-token distribution is read (0: after the prompt); several are averaged.
        attractor: The followed token id; by default, in every step, the later stage's most likely token.
        steps: `each`: from every stage to the next; `base`: from the base to every later stage.
        limit: The largest completeness error that is accepted.
        beyond: What becomes of prompts that 64 nodes leave above the limit: `refuse` the whole, or leave their
            attributions `missing`.

    Returns:
        A dataset over `stage` (the later one of a step), `prompt` and `component` (with coordinates `site`, `layer`,
        `head`; -1 where there is none): `attribution` in the metric's unit, and over `stage, prompt`: `total`, the
        change it must sum to, `completeness_error` = |sum - total| / max(|total|, 0.1), and `nodes` that were needed.

    Raises:
        InputError: For an unknown metric or grouping, or where 64 nodes leave a prompt above the limit.
    """
    if nodes < 1 or steps not in STEPS:
        raise InputError(f"got nodes={nodes} and steps={steps!r}; give 1 node or more, and one of {', '.join(STEPS)}.")
    if beyond not in BEYOND:
        raise InputError(f"got beyond={beyond!r}; give one of {', '.join(BEYOND)}.")
    chain.require_two()
    sequences = as_sequences(chain, prompts)
    reads, followed = reads_of(sequences, read_at), require_token(chain, attractor)
    groups, (name, scalar) = groups_of(chain.base, by), scalar_named(metric)
    pieces = []
    for later in range(1, len(chain.stages)):
        earlier = later - 1 if steps == "each" else 0
        judged = judge(chain, sequences, reads, followed, earlier=earlier, later=later)
        pieces.append(attributed(chain.stages[earlier], chain.stages[later], judged, scalar, groups, nodes, limit))
        pieces[-1] = accepted(pieces[-1], chain.stages[earlier], chain.stages[later], limit, beyond)
    return with_provenance(
        describe(labelled(chain, sequences, groups, pieces, steps)),
        analysis="update_attribution",
        metric=name,
        by=by,
        read_at=list(reads),
        **provenance(chain, sequences),
    )


def attributed(
    base: Stage, tuned: Stage, judged: Judged, scalar: Scalar, groups: Sequence[Group], nodes: int, limit: float
) -> dict[str, np.ndarray]:
    """Attributions of one step over prompt and group, their totals, what is missing, and the nodes needed."""
    ends = [judged.values(stage, {"scalar": scalar})["scalar"] for stage in (base, tuned)]
    total = ends[1] - ends[0]
    changed = changed_tensors(base, tuned)
    found = np.zeros((len(judged.ids), len(groups)))
    used, todo = np.full(len(judged.ids), nodes), list(range(len(judged.ids)))
    while todo and changed:
        used[todo] = nodes
        found[todo] = integral(base, tuned, changed, judged.select(todo), scalar, groups, nodes)
        error = completeness_error(found.sum(axis=1), total)
        nodes *= 2
        todo = [prompt for prompt in todo if error[prompt] > limit and nodes <= MOST_NODES]
    error = completeness_error(found.sum(axis=1), total)
    return {"attribution": found, "total": total, "completeness_error": error, "nodes": used}


def accepted(
    piece: dict[str, np.ndarray], base: Stage, tuned: Stage, limit: float, beyond: str
) -> dict[str, np.ndarray]:
    """A step's attributions, refused or missing in prompts whose sum misses the total by more than the limit."""
    error = piece["completeness_error"]
    worst = int(error.argmax())
    if beyond == "refuse" and error[worst] > limit:
        raise InputError(
            f"from {base.name!r} to {tuned.name!r} the attributions of prompt {worst} miss their total by "
            f"{100 * error[worst]:.0f} % with {piece['nodes'][worst]} nodes, so they say nothing; follow another "
            f"metric."
        )
    return {**piece, "attribution": np.where((error > limit)[:, None], np.nan, piece["attribution"])}


def integral(
    base: Stage,
    tuned: Stage,
    changed: Sequence[str],
    judged: Judged,
    scalar: Scalar,
    groups: Sequence[Group],
    nodes: int,
) -> np.ndarray:
    """The path integral of every group, over prompt and group, by Gauss-Legendre quadrature on [0, 1]."""
    places, weights = np.polynomial.legendre.leggauss(nodes)
    own, theirs = slots_of(base), slots_of(tuned)
    there = {name: own[name].tensor for name in changed}
    deltas = Deltas(there, {name: theirs[name].tensor for name in changed})
    calls = Calls(base, groups, deltas)
    found = np.zeros((len(judged.ids), len(groups)))
    steps = list(zip((places + 1) / 2, weights / 2, strict=True))
    for place, weight in Progress(steps, desc=f"{base.name} to {tuned.name}", unit="node"):
        with installed(
            base, {name: there[name] + float(place) * deltas[name].to(there[name].dtype) for name in changed}
        ):
            for prompts, values in derivatives(base, judged, scalar, calls):
                found[prompts] += weight * values
    return found


class Deltas(Mapping[str, torch.Tensor]):
    """The change of each tensor, made when it is asked for: no copy of all of them is kept."""

    base: Mapping[str, torch.Tensor]
    tuned: Mapping[str, torch.Tensor]

    def __init__(self, base: Mapping[str, torch.Tensor], tuned: Mapping[str, torch.Tensor]) -> None:
        self.base, self.tuned = base, tuned

    def __getitem__(self, name: str) -> torch.Tensor:
        return self.tuned[name].to(self.base[name].device, torch.float32) - self.base[name].float()

    def __iter__(self) -> Iterator[str]:
        return iter(self.base)

    def __len__(self) -> int:
        return len(self.base)


def derivatives(stage: Stage, judged: Judged, scalar: Scalar, calls: Calls) -> Iterator[tuple[list[int], np.ndarray]]:
    """dM/da of every group at the weights in place, for the prompts of each batch: over prompt and group."""
    for reads in judged.batches(stage.readout.vocabulary):
        prompts = list(reads.batch.indices)
        with without_gradients(stage), calls.listening(len(prompts)), torch.enable_grad():
            values = scalar(judged.reading(log_probs_of(stage, reads), reads.rows))
            (values * judged.weights(reads.rows).to(values.device)).sum().backward()
        yield prompts, calls.totals.T.numpy()


def labelled(
    chain: Chain,
    sequences: Sequences,
    groups: Sequence[Group],
    pieces: Sequence[Mapping[str, np.ndarray]],
    steps: str,
) -> xr.Dataset:
    """Attributions of all steps with their labels."""
    stages = chain.names
    data: dict[str, Any] = {}
    for name in pieces[0]:
        dims = ("stage", "prompt", "component") if name == "attribution" else ("stage", "prompt")
        values = np.stack([piece[name] for piece in pieces])
        data[name] = (dims, values.astype(np.int32 if name == "nodes" else np.float32))
    return xr.Dataset(
        data,
        coords={
            "stage": list(stages[1:]),
            "from_stage": ("stage", list(stages[:-1]) if steps == "each" else [stages[0]] * (len(stages) - 1)),
            **prompt_labels(sequences),
            **component_labels(groups),
        },
    )
