"""The logit lens of a whole chain: what each stage would say if it stopped at a layer.

At every point of the residual stream the next-token distribution is read by several lenses, since an answer that
depends on the lens is no answer: `own` is each stage's final norm and unembedding, `common` the base's for all
stages (a changed unembedding does not look like a changed stream there), `tuned` an affine translator per
checkpoint (see `mcinterp.tuned_lens`). The norm's statistics are recomputed at every layer.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Int

from mcinterp import divergence
from mcinterp.batching import Batch, batches
from mcinterp.budget import allowed, halving
from mcinterp.capture import Point, affordable_tokens, capture, residual_points
from mcinterp.chain import Chain
from mcinterp.errors import InputError
from mcinterp.lens_table import LensTable
from mcinterp.passes import capture_by_layers
from mcinterp.placement.activation_store import ActivationStore
from mcinterp.progress import Progress
from mcinterp.results import with_provenance
from mcinterp.sequences import PositionSet, Sequences, provenance

LOGIT_BYTES = 256 * 2**20
CPU_CACHE_BYTES = 2**21

Rows = Float[torch.Tensor, "row d_model"]
LogProbs = Float[torch.Tensor, "row vocabulary"]


@dataclass(frozen=True)
class Lens:
    """A way to read a residual stream: (stage number, point, rows) -> log-probabilities."""

    name: str
    read: Callable[[int, Point, Rows], LogProbs]


def own_lens(chain: Chain) -> Lens:
    """Each stage's own final norm and unembedding."""
    return Lens("own", lambda stage, point, rows: chain.stages[stage].readout.log_probs(rows))


def common_lens(chain: Chain) -> Lens:
    """The base's final norm and unembedding, for every stage."""
    return Lens("common", lambda stage, point, rows: chain.base.readout.log_probs(rows))


@dataclass(frozen=True)
class Followed:
    """What is followed in one chunk of rows, all taken at the last layer."""

    finals: list[LogProbs]
    attractor: Int[torch.Tensor, "row"]
    rivals: Int[torch.Tensor, "row candidate"]
    belongs: torch.Tensor
    following: Int[torch.Tensor, "row"]


@halving
def logit_lens(
    chain: Chain,
    sequences: Sequences,
    *,
    lenses: Sequence[Lens] | None = None,
    positions: PositionSet = "all",
    attractor: int | None = None,
    top: int = 5,
    max_bytes: int = LOGIT_BYTES,
) -> xr.Dataset:
    """Read every stage at every point of its residual stream, by every lens.

    Returns a dataset over `lens, stage, prompt, position, layer, site` (site is `resid_pre`, `resid_mid` or
    `resid_post`; `resid_post` of the last layer under `own` is the model's own distribution) with the variables of
    `mcinterp.variables.VARIABLES` in nats; missing where a prompt has no such position. `attractor` is the token id to
    follow everywhere; by default, at each position, the last stage's most likely token. Logits are made for a few
    rows at a time, so memory grows neither with layers nor with positions times the vocabulary.

    Raises `InputError` for prompts in the place of sequences.
    """
    if not isinstance(sequences, Sequences):
        raise InputError(
            f"got a {type(sequences).__name__} where sequences are wanted; give mcinterp.teacher_force(chain, prompts) "
            f"of it, with Decoding(0) for the prompts alone."
        )
    lenses = lenses if lenses is not None else (own_lens(chain), common_lens(chain))
    points = residual_points(chain.base)
    table = LensTable(chain, sequences, [lens.name for lens in lenses])
    for rows in residual_rows(chain, sequences, points, positions):
        for chunk in rows.chunks(chunk_rows(chain, max_bytes)):
            keep_read(table, chunk, lenses, points, follow(chunk, own_lens(chain), points[-1], attractor), top)
    return with_provenance(table.dataset(), analysis="logit_lens", positions=positions, **provenance(chain, sequences))


@dataclass(frozen=True)
class ChunkOfRows:
    """Rows of the residual stream of every stage, with the prompt and column each comes from."""

    residual: list[list[Rows]]
    prompt: Int[np.ndarray, "row"]
    column: Int[np.ndarray, "row"]
    following: Int[np.ndarray, "row"]

    def chunks(self, size: int) -> Iterator["ChunkOfRows"]:
        """The same rows, `size` at a time."""
        for start in range(0, len(self.prompt), size):
            part = slice(start, start + size)
            residual = [[rows[part] for rows in stage] for stage in self.residual]
            yield ChunkOfRows(residual, self.prompt[part], self.column[part], self.following[part])


def chunk_rows(chain: Chain, max_bytes: int) -> int:
    """Rows for which the log-probabilities of all stages, twice over, fit in `max_bytes`.

    On CPU fewer, so that one array of log-probabilities stays in the processor's cache, but enough to share a read of
    the unembedding.
    """
    row = 4 * chain.alignment.vocabulary
    fitting = max(1, allowed(max_bytes) // (row * (2 * len(chain.stages) + 2)))
    cached = max(64, CPU_CACHE_BYTES // row)
    return min(fitting, cached) if all(stage.device == "cpu" for stage in chain.stages) else fitting


def residual_rows(
    chain: Chain, sequences: Sequences, points: Sequence[Point], positions: PositionSet, what: str = "logit lens"
) -> Iterator[ChunkOfRows]:
    """The residual streams of all stages at the wanted positions, batch by batch; `what` names the progress bar."""
    ids = sequences.ids
    limit = min(affordable_tokens(stage, len(points)) for stage in chain.stages) // len(chain.stages)
    listed = list(batches(ids, max_tokens=max(1, limit)))
    if chain.hold.in_turns:
        yield from stored_rows(chain, sequences, points, positions, listed, what)
        return
    for batch in Progress(listed, desc=what, unit="batch"):
        wanted = wanted_cells(sequences, batch, positions)
        residual = []
        for stage in chain.stages:
            activations = capture(stage, batch, [point.hook for point in points])
            residual.append([activations[point.hook][wanted.to(stage.device)] for point in points])
        yield chunk_of(batch, wanted, residual)


def stored_rows(
    chain: Chain, sequences: Sequences, points: Sequence[Point], positions: PositionSet, listed: list[Batch], what: str
) -> Iterator[ChunkOfRows]:
    """The same where stages take turns in memory: each is read once, and its rows wait on disk for the others'."""
    store = ActivationStore(dtype=chain.hold.store)
    wanted = [wanted_cells(sequences, batch, positions) for batch in listed]
    hooks = [point.hook for point in points]
    for number, stage in enumerate(Progress(chain.stages, desc=what, unit="stage")):

        def keep(batch: int, hook: str, activation: torch.Tensor, number: int = number) -> None:
            store.put((number, hook, batch), activation[wanted[batch].to(activation.device)])

        capture_by_layers(stage, listed, hooks, keep, chain.hold.wave_bytes)
    for place, batch in enumerate(listed):
        residual = [
            [store.get((number, hook, place)).to(stage.device) for hook in hooks]
            for number, stage in enumerate(chain.stages)
        ]
        yield chunk_of(batch, wanted[place], residual)


def chunk_of(batch: Batch, wanted: torch.Tensor, residual: list[list[Rows]]) -> ChunkOfRows:
    """The rows of a batch with the prompts and columns that they come from."""
    row, column = np.nonzero(wanted.numpy())
    return ChunkOfRows(residual, np.asarray(batch.indices)[row], column, following_tokens(batch)[row, column])


def following_tokens(batch: Batch) -> Int[np.ndarray, "row column"]:
    """The token after each cell of a right-padded batch; -1 behind the last of a sequence."""
    following = torch.full_like(batch.tokens, -1)
    following[:, :-1] = torch.where(batch.present[:, 1:], batch.tokens[:, 1:], -1)
    return following.numpy()


def wanted_cells(sequences: Sequences, batch: Batch, positions: PositionSet) -> torch.Tensor:
    """Which cells of a right-padded batch belong to the set of positions."""
    wanted = torch.zeros_like(batch.present)
    for row, index in enumerate(batch.indices):
        chosen = torch.from_numpy(sequences.wanted(index, positions))
        wanted[row, : len(chosen)] = chosen
    assert not bool((wanted & ~batch.present).any()), "a padding cell was chosen"
    return wanted


def keep_read(
    table: LensTable, chunk: ChunkOfRows, lenses: Sequence[Lens], points: Sequence[Point], followed: Followed, top: int
) -> None:
    """Keep what every lens reads in a chunk of rows, at all its points."""
    table.keep_attractor(chunk.prompt, chunk.column, followed.attractor.cpu().numpy())
    for number, lens in enumerate(lenses):
        for depth, point in enumerate(points):
            read = [lens.read(stage, point, rows[depth]) for stage, rows in enumerate(chunk.residual)]
            table.keep(number, point, chunk.prompt, chunk.column, measure(read, followed, top))


@torch.inference_mode()
def follow(chunk: ChunkOfRows, own: Lens, last: Point, attractor: int | None) -> Followed:
    """Final distributions of a chunk, as a lens reads the last point, and the attractor and its rivals at each row."""
    read = [own.read(stage, last, rows[-1]) for stage, rows in enumerate(chunk.residual)]
    finals = [each.to(read[0].device) for each in read]
    following = torch.from_numpy(chunk.following).to(read[0].device)
    return Followed(finals, *divergence.followed(finals[0], finals[-1], attractor), following)


@torch.inference_mode()
def measure(read: list[LogProbs], followed: Followed, top: int) -> dict[str, np.ndarray]:
    """Every measure of one lens at one point: arrays with the stage axis first, then the row."""
    base = read[0].to(followed.attractor.device)
    each = [
        measure_stage(q.to(base.device), base, final, followed, top)
        for q, final in zip(read, followed.finals, strict=True)
    ]
    return {name: np.stack([values[name].cpu().numpy() for values in each]) for name in each[0]}


def measure_stage(
    q: LogProbs, base: LogProbs, final: LogProbs, followed: Followed, top: int
) -> dict[str, torch.Tensor]:
    """Every measure of one stage's reading `q`, beside the base's reading and the stage's own final distribution."""
    best = q.topk(min(top, q.shape[-1]), dim=-1)
    following = divergence.token_log_prob(q, followed.following.clamp(min=0))
    return {
        "entropy": divergence.entropy(q),
        "min_entropy": divergence.min_entropy(q),
        "attractor_log_prob": divergence.token_log_prob(q, followed.attractor),
        "attractor_log_odds": divergence.log_odds(q, followed.attractor, followed.rivals, followed.belongs),
        "attractor_rank": divergence.token_rank(q, followed.attractor),
        "next_log_prob": following.masked_fill(followed.following < 0, torch.nan),
        "kl_final_to_lens": divergence.kl_divergence(final, q),
        "kl_stage_to_base": divergence.kl_divergence(q, base),
        "kl_base_to_stage": divergence.kl_divergence(base, q),
        "js_stage_base": divergence.js_divergence(q, base),
        "top_token": best.indices,
        "top_probability": best.values.exp(),
    }
