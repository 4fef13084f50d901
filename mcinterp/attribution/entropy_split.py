"""Which part of the readout the entropy drop sits in: the residual stream, the final norm, or the unembedding.

logits = cap(multiplier * (W_U (gain * centre(x) * scale + bias) + b_U)) has four players: `residual`, the last
residual state x; `scale`, the final norm's factor that depends on it; `gain`, the norm's gain and bias; `unembedding`,
W_U and b_U. Each is taken from the base or from the stage in all 16 mixtures, and the difference of a metric is split
by Shapley's rule, so that the parts sum to the whole whatever the order of swapping.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float

from mcinterp import divergence
from mcinterp.attribution.shapley import shapley
from mcinterp.budget import halving
from mcinterp.capture import residual_points
from mcinterp.chain import Chain
from mcinterp.errors import InputError
from mcinterp.intervene.inputs import PromptsLike, as_sequences, reads_of, require_token
from mcinterp.lens import LOGIT_BYTES, ChunkOfRows, chunk_rows, residual_rows
from mcinterp.norms import LinearNorm, linear_norm
from mcinterp.parts import completeness_error
from mcinterp.readout import Logits, Readout, Residual
from mcinterp.results import describe, with_provenance
from mcinterp.sequences import Sequences, coordinates, provenance

Value = Float[torch.Tensor, "row"]

PLAYERS = ("residual", "scale", "gain", "unembedding")
METRICS = ("entropy", "attractor_log_odds")
FIGURES = ("shapley", "alone_first", "alone_last")


@dataclass(frozen=True)
class End:
    """What one stage brings to a mixture: its last residual state, that state's scale, its norm and its readout."""

    residual: Residual
    scale: Float[torch.Tensor, "row"]
    norm: LinearNorm
    readout: Readout


@torch.inference_mode()
@halving
def entropy_split(
    chain: Chain,
    prompts: PromptsLike,
    *,
    read_at: int | Sequence[int] = 0,
    metric: str = "entropy",
    attractor: int | None = None,
    max_bytes: int = LOGIT_BYTES,
) -> xr.Dataset:
    """Split what every later stage changed about the output among residual, scale, gain and unembedding.

    Over `stage` (all but the base), `prompt` and `player`, and `read_at` where several positions are read (from the
    last prompt token on), in nats, stage minus base, so that a drop is negative: `shapley`, whose sum over players is
    `total`; `alone_first` and `alone_last`, the effect of swapping the player before and after all others, which differ
    where players interact. `completeness_error` compares the sum with the difference of the stages' own outputs.
    Missing where a prompt has no such position. The `attractor` is the last stage's most likely token unless given.

    Raises `InputError` for an unknown metric, a position that no prompt has, or an attractor that is no token.
    """
    if metric not in METRICS:
        raise InputError(f"metric {metric!r} is unknown; give one of {', '.join(METRICS)}.")
    chain.require_two()
    sequences = as_sequences(chain, prompts)
    reads, named = reads_of(sequences, read_at), require_token(chain, attractor)
    norms = [linear_norm(stage.readout.norm, int(stage.bridge.cfg.d_model)) for stage in chain.stages]
    table = Table(chain, sequences, reads)
    points = residual_points(chain.base)[-1:]
    for rows in residual_rows(chain, sequences, points, "last" if reads == (0,) else "completion", "entropy split"):
        for chunk in rows.chunks(chunk_rows(chain, max_bytes)):
            ends = [
                End(states[0].float(), norm.scale(states[0]), norm, stage.readout)
                for states, norm, stage in zip(chunk.residual, norms, chain.stages, strict=True)
            ]
            table.keep(chunk, *split_rows(ends, metric, named))
    return with_provenance(
        table.dataset(), analysis="entropy_split", metric=metric, read_at=list(reads), **provenance(chain, sequences)
    )


def split_rows(ends: Sequence[End], metric: str, attractor: int | None) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Figures (stage, row, player) of every later stage, and the totals (stage, row) by the stages' own readouts."""
    own = [end.readout.log_probs(end.residual) for end in ends]
    followed = divergence.followed(own[0], own[-1], attractor)
    actual = [measure(q, metric, followed) for q in own]
    split = []
    for end in ends[1:]:
        mixtures = [measure(mixture(ends[0], end, number), metric, followed) for number in range(1 << len(PLAYERS))]
        split.append(shapley(torch.stack(mixtures, dim=-1)))
    figures = {name: np.stack([getattr(each, name).cpu().numpy() for each in split]) for name in FIGURES}
    return figures, np.stack([(value - actual[0]).cpu().numpy() for value in actual[1:]])


def mixture(base: End, stage: End, number: int) -> Logits:
    """Log-probabilities with player i from the stage where bit i of `number` is set, and from the base elsewhere."""
    residual, scale, gain, unembedding = (stage if number >> player & 1 else base for player in range(len(PLAYERS)))
    normed = gain.norm.apply(residual.residual, scale.scale)
    readout = unembedding.readout
    return divergence.log_probs(readout.finish(readout.product(normed.to(readout.weight.device))))


def measure(log_probs: Logits, metric: str, followed: divergence.Followed) -> Value:
    """The metric of every row, in float64, on the base's device."""
    q = log_probs.to(followed.attractor.device).double()
    if metric == "entropy":
        return divergence.entropy(q)
    return divergence.log_odds(q, followed.attractor, followed.rivals, followed.belongs)


class Table:
    """Figures by stage, prompt, read position and player, filled a few rows at a time."""

    chain: Chain
    sequences: Sequences
    reads: tuple[int, ...]

    def __init__(self, chain: Chain, sequences: Sequences, reads: tuple[int, ...]) -> None:
        self.chain, self.sequences, self.reads = chain, sequences, reads
        self.lengths: np.ndarray = np.asarray([len(ids) for ids in sequences.prompts.token_ids])
        cells = (len(chain.stages) - 1, len(sequences), len(reads))
        self.figures: dict[str, np.ndarray] = {name: np.full((*cells, len(PLAYERS)), np.nan) for name in FIGURES}
        self.total: np.ndarray = np.full(cells, np.nan)

    def keep(self, chunk: ChunkOfRows, figures: dict[str, np.ndarray], total: np.ndarray) -> None:
        """Put rows into place; rows at positions that were not asked for are dropped."""
        position = chunk.column - self.lengths[chunk.prompt] + 1
        for place, read in enumerate(self.reads):
            rows = position == read
            self.total[:, chunk.prompt[rows], place] = total[:, rows]
            for name, values in figures.items():
                self.figures[name][:, chunk.prompt[rows], place] = values[:, rows]

    def dataset(self) -> xr.Dataset:
        """Everything that was kept, labelled."""
        labels = {k: v for k, v in coordinates(self.chain, self.sequences).items() if k in ("text", "template")}
        axes = {"stage": list(self.chain.names[1:]), "prompt": np.arange(len(self.sequences))}
        axes |= {"read_at": list(self.reads), "player": list(PLAYERS)}
        dims = ("stage", "prompt", "read_at")
        data: dict[str, tuple[tuple[str, ...], np.ndarray]] = {}
        for name, values in self.figures.items():
            data[name] = ((*dims, "player"), values.astype(np.float32))
        error = completeness_error(self.figures["shapley"].sum(axis=-1), self.total)
        data["total"] = (dims, self.total.astype(np.float32))
        data["completeness_error"] = (dims, error.astype(np.float32))
        dataset = describe(xr.Dataset(data, coords={**axes, **labels}))
        return dataset if len(self.reads) > 1 else dataset.isel(read_at=0, drop=True)
