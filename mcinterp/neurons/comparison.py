"""Whether entropy and frequency neurons carry a collapse: same sets, same activations, and what patching them does.

Published work compared the sets alone; a set may stay while the neurons are driven otherwise.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import xarray as xr

from mcinterp.batching import batches
from mcinterp.capture import affordable_tokens, capture
from mcinterp.chain import Chain, Stage
from mcinterp.errors import InputError
from mcinterp.growth import at_ends, prefixes
from mcinterp.intervene.inputs import PromptsLike, as_sequences, reads_of
from mcinterp.intervene.patching import BOTH
from mcinterp.intervene.places import PositionChoice
from mcinterp.neurons.selection import (
    RULES,
    NeuronSet,
    jaccard,
    jaccard_by_chance,
    joined,
    matched_neurons,
    pairs_of,
)
from mcinterp.neurons.set_patches import norm_ratios, patches
from mcinterp.neurons.statistics import NULL_SHARE, neuron_statistics
from mcinterp.results import describe, with_provenance
from mcinterp.sequences import Sequences, provenance
from mcinterp.statistics import bootstrap

NEAREST = 10


def compare_neurons(
    chain: Chain,
    prompts: PromptsLike,
    *,
    count: int = 10,
    kinds: Sequence[str] = ("entropy", "frequency"),
    layers: int | Sequence[int] | None = None,
    null_share: float = NULL_SHARE,
    counts: Sequence[float | int] | None = None,
    positions: PositionChoice = "last",
    directions: Sequence[str] = BOTH,
    draws: int = 20,
    nearest: int = NEAREST,
    read_at: int = 0,
    attractor: int | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """Compare the entropy and frequency neurons of the stages: sets, activations, and cross-model patches of them.

    The patched set of a kind is the union of the first and the last stage's (all layers together). Beside it, `draws`
    random sets of other neurons of the same layers, each neuron one of the `nearest` closest in w_out norm (mean of
    the first and last stage) to one of the set, without replacement.

    Args:
        chain: A pair or chain of checkpoints.
        prompts: Texts, prompts, rendered prompts, or teacher-forced sequences.
        count: Neurons a kind and stage.
        kinds: `entropy`, `frequency` or both (see `mcinterp.neurons.selection`).
        layers: Layers whose neurons are compared; the last by default.
        null_share: See `neuron_statistics`.
        counts: Token counts of a corpus for the unigram; without, it comes from the prompts.
        positions: Where activations are patched; see `mcinterp.intervene.patching.patch`.
        directions: See `patch`.
        draws: Random sets beside each.
        nearest: Among how many neurons of the nearest norm each random one is drawn.
        read_at: The position whose distribution is read and at which activations are compared.
        attractor: The followed token id; the later stage's most likely token by default.
        seed: Fixes the random sets.

    Returns:
        A dataset with `jaccard` over `kind, stage, other_stage` and `jaccard_by_chance` over `kind`; over `stage, unit`
        (units are the members of the patched sets, with `kind`, `layer` and `neuron`) `in_set`, the mean `activation`
        and its `activation_change` from the first stage with a 95 % interval over templates; `norm_ratio` over `kind,
        draw`, the mean norm over the asked set's; and the metrics over `prompt, direction, kind, draw` with their
        unpatched ends, draw 0 being the set itself. `mcinterp.neurons.set_effects.set_effects` sums the patches up.

    Raises:
        InputError: For what does not exist, or too few neurons to match.
    """
    require_kinds(kinds, draws)
    sequences = as_sequences(chain, prompts)
    unigram = None if counts is not None else sequences
    statistics = neuron_statistics(chain, unigram, layers=layers, null_share=null_share, counts=counts)
    sets = {kind: RULES[kind](statistics, count) for kind in kinds}
    norms = statistics["output_norm"].isel(stage=[0, -1]).mean("stage")
    union = {kind: joined(each[chain.names[0]], each[chain.names[-1]]) for kind, each in sets.items()}
    random = {
        kind: [matched_neurons(norms, union[kind], nearest=nearest, seed=(seed, i, d)) for d in range(draws)]
        for i, kind in enumerate(kinds)
    }
    tried = {kind: [union[kind], *random[kind]] for kind in kinds}
    patched = patches(chain, sequences, tried, positions, directions, read_at, attractor)
    dataset = xr.merge(
        [overlaps(chain, sets, count, norms.size), activations(chain, sequences, sets, union, read_at), patched],
        combine_attrs="drop",
    )
    dataset["norm_ratio"] = norm_ratios(norms, tried)
    made = {"count": count, "draws": draws, "nearest": nearest, "positions": str(positions), "seed": seed}
    return with_provenance(
        describe(dataset), analysis="compare_neurons", null_share=null_share, **made, **provenance(chain, sequences)
    )


def require_kinds(kinds: Sequence[str], draws: int) -> None:
    """Refuse unknown kinds of neurons and a comparison with no random set."""
    unknown = [kind for kind in kinds if kind not in RULES]
    if unknown or not kinds or isinstance(kinds, str):
        raise InputError(f"got kinds {kinds!r}; give a list of some of {', '.join(RULES)}.")
    if draws < 1:
        raise InputError(f"{draws} random sets were asked for; give 1 or more.")


def overlaps(chain: Chain, sets: Mapping[str, Mapping[str, NeuronSet]], count: int, among: int) -> xr.Dataset:
    """The Jaccard index of the stages' sets, and what two random sets would have."""
    names = list(chain.names)
    table = [[[jaccard(each[a], each[b]) for b in names] for a in names] for each in sets.values()]
    return xr.Dataset(
        {
            "jaccard": (("kind", "stage", "other_stage"), np.asarray(table, dtype=np.float32)),
            "jaccard_by_chance": ("kind", np.full(len(sets), jaccard_by_chance(count, among), dtype=np.float32)),
        },
        coords={"kind": list(sets), "stage": names, "other_stage": names},
    )


def activations(
    chain: Chain,
    sequences: Sequences,
    sets: Mapping[str, Mapping[str, NeuronSet]],
    union: Mapping[str, NeuronSet],
    read_at: int,
) -> xr.Dataset:
    """Mean activations of the sets' members at the read position, and their change from the first stage."""
    ids = prefixes(sequences, reads_of(sequences, read_at)[0])
    pairs = [(kind, *pair) for kind, each in union.items() for pair in pairs_of(each)]
    found = np.stack([activations_of(stage, ids, [pair[1:] for pair in pairs]) for stage in chain.stages], axis=1)
    change = bootstrap(found - found[:, :1], sequences.prompts.templates)
    member = [
        [int((layer, neuron) in pairs_of(sets[kind][name])) for kind, layer, neuron in pairs] for name in chain.names
    ]
    dims = ("stage", "unit")
    data = {**change.named("activation_change"), "activation": found.mean(axis=0)}
    return xr.Dataset(
        {name: (dims, value.astype(np.float32)) for name, value in data.items()}
        | {"in_set": (dims, np.asarray(member, dtype=np.int8))},
        coords={
            "stage": list(chain.names),
            "unit": np.arange(len(pairs)),
            **{
                n: ("unit", list(v))
                for n, v in zip(("unit_kind", "layer", "neuron"), zip(*pairs, strict=True), strict=True)
            },
        },
    )


def activations_of(stage: Stage, ids: Sequence[Sequence[int]], pairs: Sequence[tuple[int, int]]) -> np.ndarray:
    """Activations of neurons, given as (layer, neuron), at the last token of each sequence; prompt first."""
    hooks = {layer: f"blocks.{layer}.mlp.hook_post" for layer, _ in pairs}
    found = np.zeros((len(ids), len(pairs)))
    width = -(-int(stage.bridge.cfg.d_mlp) // int(stage.bridge.cfg.d_model))
    for batch in batches(ids, max_tokens=affordable_tokens(stage, width * len(hooks))):
        kept = capture(stage, batch, list(hooks.values()))
        ends = {layer: at_ends(kept[hook], batch.lengths).float().cpu() for layer, hook in hooks.items()}
        found[list(batch.indices)] = torch.stack([ends[layer][:, neuron] for layer, neuron in pairs], dim=-1).numpy()
    return found
