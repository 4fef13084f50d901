"""The tuned lens: one affine translator a point of the residual stream, fitted for one checkpoint.

A translator reads h as h + (A h + b) before the stage's own final norm and unembedding, A and b starting at zero
(the logit lens) and trained on KL(final || lens) (Belrose et al. 2023). It belongs to the checkpoint it was fitted
on, and is refused for any other.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from mcinterp.budget import halving
from mcinterp.capture import Point, bytes_a_token, capture_residuals, residual_points
from mcinterp.chain import Chain, Stage
from mcinterp.completions import Decoding, complete_many
from mcinterp.divergence import kl_divergence
from mcinterp.errors import InputError, first_line
from mcinterp.lens import Lens
from mcinterp.progress import Progress
from mcinterp.readout import Readout
from mcinterp.rendering import RenderedPrompts
from mcinterp.results import made_folder, write_whole

Rows = Float[torch.Tensor, "row d_model"]
KEPT_BYTES = 2**30
FILE = "tuned_lens.safetensors"


@dataclass(frozen=True)
class Fit:
    """How a tuned lens is fitted: Adam on random rows, the learning rate falling linearly to zero.

    The text is each stage's own: `samples` completions of at most `sample_tokens` for every prompt. The learning rate
    is `rate` over the model's width, for biases in units of the stream's root mean square, so that a step changes what
    is read alike at every width and scale.
    """

    samples: int = 4
    sample_tokens: int = 48
    steps: int = 250
    rows: int = 256
    rate: float = 0.4
    held_out: float = 0.2
    seed: int = 0


@dataclass(frozen=True)
class TunedLens:
    """The translators of one checkpoint, and KL(final || lens) on held-out rows before and after fitting, in nats."""

    points: tuple[Point, ...]
    weight: Float[torch.Tensor, "point d_model d_model"]
    bias: Float[torch.Tensor, "point d_model"]
    kl_before: tuple[float, ...]
    kl_after: tuple[float, ...]
    fingerprint: str

    def translate(self, point: Point, rows: Rows) -> Rows:
        """h + (A h + b) at a point; the last layer's output is left as it is."""
        if point not in self.points:
            return rows
        number = self.points.index(point)
        wide = rows.float()
        weight, bias = self.weight[number].to(rows.device), self.bias[number].to(rows.device)
        return wide + wide @ weight.T + bias

    def save(self, path: str | Path) -> Path:
        """Write the lens as one safetensors file, whole or not at all."""
        record = {
            "points": [[point.layer, point.site] for point in self.points],
            "kl_before": self.kl_before,
            "kl_after": self.kl_after,
            "fingerprint": self.fingerprint,
        }
        tensors = {"weight": self.weight.contiguous(), "bias": self.bias.contiguous()}
        metadata = {"tuned_lens": json.dumps(record)}
        return write_whole(path, lambda temporary: save_file(tensors, temporary, metadata=metadata))


def load_tuned_lens(path: str | Path, stage: Stage) -> TunedLens:
    """Read a stage's lens from a file.

    Raises `InputError` where the file is no tuned lens or was fitted on another checkpoint.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            record = json.loads((file.metadata() or {})["tuned_lens"])
            weight, bias = file.get_tensor("weight").float(), file.get_tensor("bias").float()
    except (OSError, KeyError, SafetensorError, json.JSONDecodeError) as error:
        raise InputError(
            f"{str(path)!r} is no tuned lens ({first_line(error)}); fit one with `mcinterp fit-lens`."
        ) from error
    if record["fingerprint"] != stage.fingerprint:
        raise InputError(
            f"tuned lens {str(path)!r} was fitted on another checkpoint or dtype than stage {stage.name!r}; fit one on "
            f"this checkpoint with `mcinterp fit-lens`."
        )
    points = tuple(Point(layer, site) for layer, site in record["points"])
    return TunedLens(points, weight, bias, tuple(record["kl_before"]), tuple(record["kl_after"]), record["fingerprint"])


def tuned_lens(chain: Chain, lenses: Sequence[TunedLens]) -> Lens:
    """The lens that reads each stage through its own translators."""
    if len(lenses) != len(chain.stages):
        raise InputError(f"got {len(lenses)} tuned lenses for {len(chain.stages)} stages; give one a stage.")
    return Lens(
        "tuned",
        lambda stage, point, rows: chain.stages[stage].readout.log_probs(lenses[stage].translate(point, rows)),
    )


@halving
def fit_tuned_lens(stage: Stage, sequences: Sequence[Sequence[int]], fit: Fit = Fit()) -> TunedLens:
    """Fit a checkpoint's translators on the tokens of some text (ideally what the checkpoint itself writes).

    A share of the rows is held out; a translator that does not lower the divergence there stays the identity.
    """
    points = residual_points(stage)[:-1]
    random = torch.Generator().manual_seed(fit.seed)
    streams = captured_rows(stage, sequences)
    order = torch.randperm(len(streams[0]), generator=random)
    n_held = max(1, int(fit.held_out * len(order)))
    if len(order) - n_held < 1:
        raise InputError(f"got {len(order)} tokens to fit a tuned lens on; give more text.")
    held, train = order[:n_held], order[n_held:]
    weight, bias = train_translators(stage.readout, streams, train, fit, random)
    before = held_out_kl(stage.readout, streams, held, torch.zeros_like(weight), torch.zeros_like(bias))
    after = held_out_kl(stage.readout, streams, held, weight, bias)
    for number, (was, now) in enumerate(zip(before, after, strict=True)):
        if now >= was:
            weight[number], bias[number], after[number] = 0.0, 0.0, was
    return TunedLens(tuple(points), weight, bias, tuple(before), tuple(after), stage.fingerprint)


def captured_rows(stage: Stage, sequences: Sequence[Sequence[int]]) -> list[Rows]:
    """The residual stream at every point for all tokens of some sequences, as far as memory goes."""
    hooks = [point.hook for point in residual_points(stage)]
    kept: list[list[torch.Tensor]] = [[] for _ in hooks]
    room = max(1, KEPT_BYTES // bytes_a_token(stage, len(hooks)))
    for activations in capture_residuals(stage, sequences):
        for rows, hook in zip(kept, hooks, strict=True):
            rows.append(activations.rows(hook)[:room])
        room -= len(kept[0][-1])
        if room <= 0:
            break
    return [torch.cat(rows) for rows in kept]


def train_translators(
    readout: Readout, streams: list[Rows], train: torch.Tensor, fit: Fit, random: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Adam on KL(final || lens), all points on the same random rows, one point's logits in memory at a time."""
    d_model, device = streams[0].shape[-1], streams[0].device
    scale = torch.stack([stream.float().pow(2).mean().sqrt() for stream in streams[:-1]]).unsqueeze(-1)
    weight = torch.zeros(len(streams) - 1, d_model, d_model, device=device, requires_grad=True)
    bias = torch.zeros(len(streams) - 1, d_model, device=device, requires_grad=True)
    optimiser = torch.optim.Adam([weight, bias], lr=fit.rate / d_model)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, total_iters=fit.steps)
    for _ in Progress(range(fit.steps), desc="tuned lens", unit="step"):
        rows = train[torch.randint(len(train), (min(fit.rows, len(train)),), generator=random)]
        for loss in point_losses(readout, streams, rows, weight, bias, scale):
            loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        schedule.step()
    return weight.detach(), (scale * bias).detach()


def point_losses(
    readout: Readout,
    streams: list[Rows],
    rows: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    scale: torch.Tensor | None = None,
) -> Iterator[torch.Tensor]:
    """Mean KL(final || lens) over some rows, one point after the other; biases in units of `scale` where given."""
    final = readout.log_probs(streams[-1][rows].clone())
    for number, stream in enumerate(streams[:-1]):
        h = stream[rows].clone().float()
        shift = bias[number] if scale is None else scale[number] * bias[number]
        yield kl_divergence(final, readout.log_probs(h + h @ weight[number].T + shift)).mean()


@torch.no_grad()
def held_out_kl(
    readout: Readout, streams: list[Rows], held: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
) -> list[float]:
    """Mean KL(final || lens) over the held-out rows at every point, in nats."""
    parts = held.split(256)
    sums = [[float(loss) * len(part) for loss in point_losses(readout, streams, part, weight, bias)] for part in parts]
    return [sum(column) / len(held) for column in zip(*sums, strict=True)]


def fit_chain(chain: Chain, rendered: RenderedPrompts, out: str | Path, fit: Fit = Fit()) -> list[TunedLens]:
    """Fit a tuned lens for every stage on what that stage itself writes, and save each under `out/STAGE`."""
    fitted = []
    for stage in chain.stages:
        fitted.append(fit_tuned_lens(stage, own_samples(stage, rendered, chain.alignment.context, fit), fit))
        fitted[-1].save(made_folder(Path(out) / stage.name) / FILE)
    return fitted


def own_samples(stage: Stage, rendered: RenderedPrompts, context: int, fit: Fit) -> list[tuple[int, ...]]:
    """Prompts with completions that a stage samples at temperature 1."""
    decoding = Decoding(max_new_tokens=fit.sample_tokens, temperature=1.0, seed=fit.seed)
    written = complete_many(stage, rendered.token_ids, decoding, context=context, samples=fit.samples)
    return [(*ids, *each) for ids, several in zip(rendered.token_ids, written, strict=True) for each in several]
