"""The scalar that weights are judged by: a metric of the next-token distribution, at read positions of given prompts.

The same metrics as for patching, with the clean distributions of an earlier and a later stage as the two ends.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int

from mcinterp import divergence
from mcinterp.batching import Batch, batches, waves
from mcinterp.capture import bytes_a_token
from mcinterp.chain import Chain, Stage
from mcinterp.errors import InputError
from mcinterp.intervene.metrics import METRICS, Reading
from mcinterp.passes import BatchRun, Inputs, logits_of
from mcinterp.sequences import Sequences

Scalar = Callable[[Reading], torch.Tensor]
SCALARS: dict[str, Scalar] = {
    "entropy": METRICS["entropy"],
    "attractor_log_prob": METRICS["attractor_log_prob"],
    "attractor_log_odds": METRICS["attractor_log_odds"],
    "kl_to_base": METRICS["kl_to_recipient"],
    "kl_to_tuned": METRICS["kl_to_donor"],
}
MOST_TOKENS = 4096
MOST_LOGITS = 32 * 2**20
LogProbs = Float[torch.Tensor, "row vocabulary"]
Rows = Sequence[tuple[int, int]]


def scalar_named(metric: str | Scalar) -> tuple[str, Scalar]:
    """A metric and its name: one of `SCALARS`, or the caller's own differentiable function of a `Reading`.

    In the reading, `recipient` is the earlier stage's distribution and `donor` the later one's.
    """
    if callable(metric):
        return getattr(metric, "__name__", "function"), metric
    if metric not in SCALARS:
        raise InputError(f"metric {metric!r} is unknown; give one of {', '.join(SCALARS)}, or a function of a Reading.")
    return metric, SCALARS[metric]


class Reads(NamedTuple):
    """A batch and what is read of it: the rows, the line of each, the kept columns, and each row's place among them."""

    batch: Batch
    rows: list[int]
    lines: torch.Tensor
    places: torch.Tensor
    columns: torch.Tensor


@dataclass(frozen=True)
class Judged:
    """Prompts cut behind their last read position, and the ends and tokens that metrics need, row by row.

    A row is a prompt at one of the read positions that it has.
    """

    ids: list[tuple[int, ...]]
    columns: list[list[int]]
    earlier: LogProbs
    later: LogProbs
    attractor: Int[torch.Tensor, "row"]
    rivals: Int[torch.Tensor, "row candidate"]
    belongs: torch.Tensor

    @property
    def rows(self) -> list[tuple[int, int]]:
        """Prompt and number of the read position of every row."""
        return [(p, r) for p, columns in enumerate(self.columns) for r, column in enumerate(columns) if column >= 0]

    def reading(self, log_probs: LogProbs, rows: Sequence[int]) -> Reading:
        """Some rows' distributions beside their ends, as metrics take them."""
        where, chosen = log_probs.device, list(rows)
        return Reading(
            log_probs=log_probs,
            donor=self.later[chosen].to(where),
            recipient=self.earlier[chosen].to(where),
            attractor=self.attractor[chosen].to(where),
            rivals=self.rivals[chosen].to(where),
            belongs=self.belongs[chosen].to(where),
        )

    def batches(self, vocabulary: int) -> Iterator["Reads"]:
        """Right-padded batches, longest prompts first."""
        numbers = {pair: row for row, pair in enumerate(self.rows)}
        most = max(1, min(MOST_TOKENS, MOST_LOGITS // vocabulary))
        for batch in batches(self.ids, max_tokens=most):
            found = [
                (numbers[(prompt, read)], line, column)
                for line, prompt in enumerate(batch.indices)
                for read, column in enumerate(self.columns[prompt])
                if column >= 0
            ]
            rows, lines, columns = ([each[i] for each in found] for i in range(3))
            kept, places = torch.tensor(columns).unique(return_inverse=True)
            yield Reads(batch, rows, torch.tensor(lines), places, kept)

    @torch.inference_mode()
    def values(self, stage: Stage, metrics: Mapping[str, Scalar]) -> dict[str, np.ndarray]:
        """Metrics of a stage with the weights it has now: means over the read positions of every prompt."""
        found = {name: np.empty(len(self.rows)) for name in metrics}
        for rows, log_probs in distributions(stage, self):
            reading = self.reading(log_probs, rows)
            for name, metric in metrics.items():
                found[name][rows] = metric(reading).double().cpu().numpy()
        return {name: self.by_prompt(values) for name, values in found.items()}

    @property
    def reads_each(self) -> np.ndarray:
        """How many read positions every prompt has."""
        return np.asarray([sum(column >= 0 for column in columns) for columns in self.columns])

    def weights(self, rows: Sequence[int]) -> torch.Tensor:
        """What each of some rows counts in the mean of its prompt."""
        each = 1.0 / self.reads_each
        return torch.tensor([each[self.rows[row][0]] for row in rows])

    def by_prompt(self, values: np.ndarray) -> np.ndarray:
        """Values of the rows as means over the read positions of every prompt."""
        prompts = [prompt for prompt, _ in self.rows]
        return np.bincount(prompts, weights=values, minlength=len(self.ids)) / self.reads_each

    def select(self, prompts: Sequence[int]) -> "Judged":
        """Some of the prompts."""
        chosen = set(prompts)
        rows = [row for row, (prompt, _) in enumerate(self.rows) if prompt in chosen]
        parts = (self.earlier, self.later, self.attractor, self.rivals, self.belongs)
        return Judged(
            [self.ids[p] for p in prompts], [self.columns[p] for p in prompts], *(each[rows] for each in parts)
        )


def distributions(stage: Stage, judged: Judged) -> Iterator[tuple[list[int], LogProbs]]:
    """Log-probabilities of all rows under a stage as it is now, batch by batch."""
    listed = list(judged.batches(stage.readout.vocabulary))
    if not stage.hold.in_turns:
        yield from ((reads.rows, log_probs_of(stage, reads)) for reads in listed)
        return
    width = bytes_a_token(stage, 1)
    for wave in waves(listed, lambda reads: width * reads.batch.tokens.numel(), stage.hold.wave_bytes):
        runs = [(reads, BatchRun(stage, inputs_of(reads))) for reads in wave]
        for layer in range(stage.n_layers):
            for _, run in runs:
                run.advance(layer)
        yield from ((reads.rows, rows_of(stage, reads, run.logits())) for reads, run in runs)


def inputs_of(reads: Reads) -> Inputs:
    """A batch of rows as a forward pass takes it.

    Padding stands behind the tokens, which never attend to it, so no mask is needed; without one padding attends to
    something in every layer, and its gradients are zero instead of undefined.
    """
    return Inputs(reads.batch.tokens, torch.ones_like(reads.batch.tokens), reads.columns)


def rows_of(stage: Stage, reads: Reads, logits: torch.Tensor) -> LogProbs:
    """Log-probabilities of a batch's rows from the logits of its wanted columns."""
    return divergence.log_probs(logits[reads.lines, reads.places][:, : stage.readout.vocabulary])


def log_probs_of(stage: Stage, reads: Reads) -> LogProbs:
    """Log-probabilities of a batch's rows; gradients flow where they are enabled."""
    return rows_of(stage, reads, logits_of(stage, inputs_of(reads)))


@torch.inference_mode()
def judge(
    chain: Chain,
    sequences: Sequences,
    reads: Sequence[int],
    attractor: int | None,
    *,
    earlier: int = 0,
    later: int = -1,
) -> Judged:
    """What metrics of two stages need on some prompts; the followed token is the later stage's own unless given."""
    draft = unread(sequences, reads)
    base = ends_of(chain.base, draft)
    ends = [base if number == 0 else ends_of(chain.stages[number], draft) for number in (earlier, later)]
    followed = divergence.followed(base, ends[1], attractor)
    return replace(draft, earlier=ends[0], later=ends[1], **followed._asdict())


def unread(sequences: Sequences, reads: Sequence[int]) -> Judged:
    """The rows and batches of some prompts, before anything is read of them."""
    blank = torch.zeros(0, 0)
    return Judged(*cut_behind(sequences, reads), blank, blank, blank.flatten().long(), blank.long(), blank.bool())


def cut_behind(sequences: Sequences, reads: Sequence[int]) -> tuple[list[tuple[int, ...]], list[list[int]]]:
    """Sequences cut behind their last read position, and the column of every read position (-1: it has none)."""
    lengths = [len(ids) for ids in sequences.prompts.token_ids]
    columns = [
        [n - 1 + read if n - 1 + read < len(ids) else -1 for read in reads]
        for n, ids in zip(lengths, sequences.ids, strict=True)
    ]
    return [ids[: max(each) + 1] for ids, each in zip(sequences.ids, columns, strict=True)], columns


def ends_of(stage: Stage, judged: Judged) -> LogProbs:
    """A stage's clean distributions of all rows, on the CPU."""
    found = torch.empty(len(judged.rows), stage.readout.vocabulary)
    for rows, log_probs in distributions(stage, judged):
        found[rows] = log_probs.float().cpu()
    return found
