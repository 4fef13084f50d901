"""Entropy neurons and token-frequency neurons, found in the weights alone.

An entropy neuron writes strongly where the unembedding does not read: it changes no logit by itself but the final
norm's scale, and so how sharp the distribution is (Stolfo et al. 2024, "Confidence regulation neurons in language
models"). A token-frequency neuron moves the logits along the log of the tokens' frequencies (same source).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float

from mcinterp.batching import batches
from mcinterp.budget import halving
from mcinterp.capture import Point, affordable_tokens, capture
from mcinterp.chain import Chain, Stage
from mcinterp.errors import InputError
from mcinterp.folding import final_norm, folded_unembedding, neuron_outputs
from mcinterp.intervene.inputs import PromptsLike, as_sequences
from mcinterp.results import describe, with_provenance
from mcinterp.sequences import provenance

NULL_SHARE = 0.02
LEAST_PROBABILITY = 1e-12
READ_ROWS = 256

Vocabulary = Float[torch.Tensor, "vocabulary"]


@dataclass(frozen=True)
class Reader:
    """What the folded unembedding W of a stage says about any vector, in matrices of d_model x d_model (float64).

    `gram` is W'W after the mean over the vocabulary was taken off, `spread` the covariance over tokens of W's rows at
    unit length, `frequency` is W'u for the centred log-unigram u, of length `frequency_norm`.
    """

    gram: Float[torch.Tensor, "d_model d_model"]
    spread: Float[torch.Tensor, "d_model d_model"]
    frequency: Float[torch.Tensor, "d_model"]
    frequency_norm: float
    centred: bool

    def singular(self) -> tuple[Float[torch.Tensor, "rank"], Float[torch.Tensor, "d_model rank"]]:
        """Singular values, largest first, and the directions they belong to.

        Where the final norm centres, the even direction is no direction of what it reads and is left out.
        """
        gram, width = self.gram, len(self.gram)
        if self.centred:
            gram = gram + (self.gram.trace() + 1.0) / width
        values, directions = torch.linalg.eigh(gram)
        order = torch.arange(width - 1, -1, -1, device=gram.device)[int(self.centred) :]
        return values[order].clamp(min=0).sqrt(), directions[:, order]


def reader_of(stage: Stage, log_unigram: Vocabulary | None) -> Reader:
    """The reader of a stage, in two passes over its unembedding by blocks."""
    norm = final_norm(stage)
    mean = sum(block.sum(dim=0) for block in folded_unembedding(stage, norm)) / stage.readout.vocabulary
    width, where = len(norm.gain), norm.gain.device
    gram, second = torch.zeros(2, width, width, dtype=torch.float64, device=where)
    first, frequency = torch.zeros(2, width, dtype=torch.float64, device=where)
    u = torch.zeros(stage.readout.vocabulary) if log_unigram is None else log_unigram
    u = (u.double() - u.double().mean()).to(where)
    for block, weights in zip(folded_unembedding(stage, norm), u.split(16_384), strict=True):
        rows = block - mean
        unit = rows / rows.norm(dim=-1, keepdim=True).clamp(min=1e-30)
        gram += rows.T @ rows
        second += unit.T @ unit
        first += unit.sum(dim=0)
        frequency += weights @ rows
    first, second = first / stage.readout.vocabulary, second / stage.readout.vocabulary
    return Reader(gram, second - first.outer(first), frequency, float(u.norm()), norm.centred)


@halving
def neuron_statistics(
    chain: Chain,
    prompts: PromptsLike | None = None,
    *,
    layers: int | Sequence[int] | None = None,
    null_share: float = NULL_SHARE,
    counts: Sequence[float | int] | None = None,
) -> xr.Dataset:
    """What the weights say about every neuron of some MLPs, in every stage (Stolfo et al. 2024).

    Everything is said about w, what a unit of the neuron adds to the residual stream (`folding.neuron_outputs`), and W,
    the unembedding with the final norm's gain folded in (its centring too, for LayerNorm) and the mean over the
    vocabulary taken off, since moving all logits alike changes nothing. Not in it: data-dependent scales of norms, and
    a softcap (Gemma-2), which is monotone but not linear.

    Args:
        chain: A pair or chain of checkpoints.
        prompts: Texts whose mean next-token distribution under the base (over all their tokens) is the unigram.
        layers: Layers whose neurons are described; the last by default. In earlier layers this is the direct path only.
        null_share: The share of singular directions of W, smallest first, that counts as unread (one at least).
        counts: Token counts of a corpus, one a token id, for the unigram instead of `prompts`; one is added to each.

    Returns:
        A dataset over `stage, layer, neuron`: `output_norm` |w|; `logit_variance`, the variance over tokens of
        cos(w, W_v); `null_fraction` rho = |w in the unread directions| / |w|; `frequency_alignment`, the cosine over
        the vocabulary between W w and the log-unigram (missing without prompts or counts); and
        `unembedding_singular_value` over `stage, rank`. The attribute `null_fraction_by_chance` is rho of a random w.

    Raises:
        InputError: For layers or a share that do not exist, counts of another length, both prompts and counts, or an
            MLP without an output projection.
    """
    chosen = require_layers(chain, layers)
    if not 0 < null_share < 1:
        raise InputError(f"null_share {null_share} is no share; give a number between 0 and 1.")
    sequences = None if prompts is None else as_sequences(chain, prompts)
    if sequences is not None and counts is not None:
        raise InputError("both prompts and counts were given for the unigram; give one of them.")
    unigram = counted(chain, counts) if sequences is None else mean_log_unigram(chain.base, sequences.ids)
    each = [stage_statistics(stage, unigram, chosen, null_share) for stage in chain.stages]
    n_null = unread_count(each[0]["unembedding_singular_value"].shape[0], null_share)
    rank = each[0]["unembedding_singular_value"].shape[0]
    data = {}
    for name in each[0]:
        axes = ("rank",) if name == "unembedding_singular_value" else ("layer", "neuron")
        data[name] = (("stage", *axes), np.stack([values[name] for values in each]).astype(np.float32))
    dataset = xr.Dataset(data, coords={"stage": list(chain.names), "layer": list(chosen)})
    dataset = dataset.assign_coords(neuron=np.arange(dataset.sizes["neuron"]), rank=np.arange(rank))
    dataset.attrs |= {"null_directions": n_null, "null_fraction_by_chance": float(np.sqrt(n_null / rank))}
    where = {"checkpoints": [stage.checkpoint.provenance() for stage in chain.stages]}
    where = provenance(chain, sequences) if sequences is not None else where
    return with_provenance(describe(dataset), analysis="neuron_statistics", null_share=null_share, **where)


def stage_statistics(
    stage: Stage, unigram: Vocabulary | None, layers: Sequence[int], null_share: float
) -> dict[str, np.ndarray]:
    """The statistics of one stage over layer and neuron, and its singular values."""
    reader = reader_of(stage, unigram)
    values, directions = reader.singular()
    unread = directions[:, -unread_count(len(values), null_share) :]
    found = [vector_statistics(neuron_outputs(stage, layer), reader, unread) for layer in layers]
    table = {name: np.stack([each[name].cpu().numpy() for each in found]) for name in found[0]}
    return table | {"unembedding_singular_value": values.cpu().numpy()}


def unread_count(rank: int, null_share: float) -> int:
    """How many directions count as unread."""
    return max(1, round(null_share * rank))


def vector_statistics(
    outputs: Float[torch.Tensor, "neuron d_model"], reader: Reader, unread: Float[torch.Tensor, "d_model null"]
) -> dict[str, Float[torch.Tensor, "neuron"]]:
    """Norm, LogitVar, rho and frequency alignment of vectors; zero vectors have none but the norm."""
    w = outputs.to(reader.gram)
    w = w - w.mean(dim=-1, keepdim=True) if reader.centred else w
    norm = w.norm(dim=-1)
    unit = w / norm.unsqueeze(-1)
    along = unit @ reader.frequency
    moved = ((unit @ reader.gram) * unit).sum(dim=-1).clamp(min=0).sqrt()
    return {
        "output_norm": norm,
        "logit_variance": ((unit @ reader.spread) * unit).sum(dim=-1).clamp(min=0),
        "null_fraction": (unit @ unread).norm(dim=-1),
        "frequency_alignment": along / (moved * reader.frequency_norm if reader.frequency_norm else torch.nan),
    }


def require_layers(chain: Chain, layers: int | Sequence[int] | None) -> tuple[int, ...]:
    """The chosen layers in ascending order, the last by default; `InputError` for one that does not exist."""
    last = chain.base.n_layers - 1
    listed = [last] if layers is None else [layers] if isinstance(layers, int) else list(layers)
    chosen = tuple(sorted({int(layer) for layer in listed}))
    if not chosen or chosen[0] < 0 or chosen[-1] > last:
        raise InputError(f"got layers {list(listed)} and the model has layers 0 to {last}; choose among them.")
    return chosen


def counted(chain: Chain, counts: Sequence[float | int] | None) -> Vocabulary | None:
    """The log of token counts plus one."""
    if counts is None:
        return None
    table = torch.as_tensor(np.asarray(counts, dtype=np.float64))
    if table.shape != (chain.alignment.vocabulary,) or bool((table < 0).any()):
        raise InputError(
            f"got {tuple(table.shape)} token counts; give {chain.alignment.vocabulary}, one a token id and none below "
            f"zero."
        )
    return (table + 1.0).log()


@torch.inference_mode()
def mean_log_unigram(stage: Stage, ids: Sequence[Sequence[int]]) -> Vocabulary:
    """log of the mean next-token distribution over all tokens of some sequences, float64."""
    hook = Point(stage.n_layers - 1, "resid_post").hook
    total = torch.zeros(stage.readout.vocabulary, dtype=torch.float64)
    for batch in batches(ids, max_tokens=affordable_tokens(stage, 1)):
        for rows in capture(stage, batch, [hook]).rows(hook).split(READ_ROWS):
            total += stage.readout.log_probs(rows).exp().sum(dim=0).double().cpu()
    return (total / total.sum()).clamp(min=LEAST_PROBABILITY).log()
