"""How much of what tuning did to a chain is a temperature: at the output, and at every layer that a lens reads.

KL(stage || base) of every row is split into temperature, frequency and reordering (see `mcinterp.sharpening`), with
one beta a token, one a prompt, and one for all prompts.
"""

from collections.abc import Iterable, Sequence
from typing import get_args

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float

from mcinterp import divergence, sharpening
from mcinterp.budget import halving
from mcinterp.capture import residual_points
from mcinterp.chain import Chain
from mcinterp.errors import InputError
from mcinterp.intervene.inputs import PromptsLike, as_sequences
from mcinterp.lens import LOGIT_BYTES, Lens, LogProbs, own_lens
from mcinterp.lens_table import LensTable
from mcinterp.progress import Progress
from mcinterp.readings import BesideBase, Held, hold
from mcinterp.results import describe, with_provenance, with_token_strings
from mcinterp.sequences import PositionSet, provenance
from mcinterp.tilting import CAP

FLOAT64_WORKING_SET = 4
LogFrequency = Float[torch.Tensor, "vocabulary"]


@torch.inference_mode()
@halving
def temperature_split(
    chain: Chain,
    prompts: PromptsLike,
    *,
    positions: PositionSet = "last",
    lenses: Sequence[Lens] | None = None,
    output_only: bool = False,
    frequency: Float[np.ndarray, "vocabulary"] | None = None,
    top: int = 10,
    cap: float = CAP,
    max_bytes: int = LOGIT_BYTES,
) -> xr.Dataset:
    """Split KL(stage || base) into temperature, frequency and reordering, at every point that a lens reads.

    Over `lens, stage` (all but the base)`, prompt, position, layer, site` like `mcinterp.lens.logit_lens`, by the own
    lens unless others are given; `resid_post` of the last layer under `own` is the output, and `output_only` reads
    nothing else. In nats: `kl_stage_to_base` = `temperature_kl` + `frequency_kl` + `reordering_kl`. A change is a
    temperature only where `is_temperature` (beta > 0), however large `temperature_share` is. `beta_prompt` (pooled
    over the rows of a prompt) and `beta_global` (over all rows) lack the axes that they pool.

    `frequency` is the probability of every token, by default the mean of the base's output over the rows read here (of
    a single row that is the row's own p, and explains nothing more). `kendall_tau` and `top_k_jaccard` compare the
    `top` most likely tokens. The residual stream at the chosen positions is held in memory, logits but a few rows.

    Raises `InputError` for an unknown set of positions, `top` below 2, `cap` of at most 1, or a frequency that is not
    one positive number a token.
    """
    check(positions, top, cap)
    chain.require_two()
    sequences = as_sequences(chain, prompts)
    lenses = lenses if lenses is not None else (own_lens(chain),)
    points = residual_points(chain.base)[-1 if output_only else 0 :]
    held = hold(chain, sequences, points, positions, max_bytes // FLOAT64_WORKING_SET)
    u = mean_log_prob(held) if frequency is None else given_frequency(chain, frequency)
    table = LensTable(chain, sequences, [lens.name for lens in lenses], chain.names[1:])
    places = [(n, d) for n in range(len(lenses)) for d in range(len(points))]
    for number, depth in Progress(places, desc="temperature split", unit="point"):
        readings = held.read(lenses[number], depth, max_bytes // 2)
        for chunk, read in zip(held.chunks, readings, strict=True):
            table.keep(number, points[depth], chunk.prompt, chunk.column, measure(read, u, top, cap))
        table.keep_pooled(number, points[depth], pool(readings, held, len(sequences), cap))
    dataset = table.labelled()
    dataset = describe(with_token_strings(dataset, table.decode, dataset["token_id"].values))
    how = {"frequency": "mean of the base's output" if frequency is None else "given", "top": top, "cap": cap}
    return with_provenance(
        dataset, analysis="temperature_split", positions=positions, **how, **provenance(chain, sequences)
    )


def check(positions: str, top: int, cap: float) -> None:
    """Refuse settings that cannot be used."""
    if positions not in get_args(PositionSet):
        raise InputError(f"positions {positions!r} is unknown; give one of {', '.join(get_args(PositionSet))}.")
    if top < 2:
        raise InputError(f"got top={top}, which leaves no two tokens whose order could differ; give 2 or more.")
    if not cap > 1.0:
        raise InputError(f"got cap={cap}, which shuts out beta = 1, no change; give a number above 1.")


def mean_log_prob(held: Held) -> LogFrequency:
    """Log of the base's mean next-token distribution at the output over all rows."""
    read = held.chain.base.readout.log_probs
    sums = [read(chunk.residual[0][-1]).double().logsumexp(dim=0) for chunk in held.chunks]
    return torch.stack(sums).logsumexp(dim=0).log_softmax(dim=-1)


def given_frequency(chain: Chain, frequency: Float[np.ndarray, "vocabulary"]) -> LogFrequency:
    """Log of given token frequencies, refused where they are no positive numbers, one a token."""
    values = torch.as_tensor(np.asarray(frequency), dtype=torch.float64)
    if values.shape != (chain.alignment.vocabulary,) or not bool(((values > 0) & values.isfinite()).all()):
        raise InputError(
            f"got token frequencies of shape {tuple(values.shape)}, the least {float(values.min()):.3g}; "
            f"give one positive number for each of the {chain.alignment.vocabulary} tokens (add one to counts)."
        )
    return values.log().log_softmax(dim=-1).to(chain.base.readout.weight.device)


def measure(read: list[LogProbs], u: LogFrequency, top: int, cap: float) -> dict[str, np.ndarray]:
    """Every measure of the later stages against the base: arrays with the stage axis first, then the row."""
    each = [measure_stage(q, read[0], u, top, cap) for q in read[1:]]
    return {name: np.stack([values[name].cpu().numpy() for values in each]) for name in each[0]}


def measure_stage(q: LogProbs, p: LogProbs, u: LogFrequency, top: int, cap: float) -> dict[str, torch.Tensor]:
    """Every measure of one stage `q` against the base `p`."""
    split = sharpening.split_kl(q, p, u, cap=cap)
    rank = divergence.token_rank(p, q.argmax(dim=-1))
    return {
        "kl_stage_to_base": split.kl,
        "temperature_kl": split.temperature,
        "frequency_kl": split.frequency,
        "reordering_kl": split.reordering,
        "temperature_share": split.share,
        "is_temperature": (split.beta > 0).double().masked_fill(split.kl < sharpening.LEAST_KL, torch.nan),
        "beta": split.beta,
        "beta_with_frequency": split.beta_with_frequency,
        "gamma": split.gamma,
        "capped": split.capped.double(),
        "frequency_capped": split.frequency_capped.double(),
        "rank_under_base": rank,
        "shift_class": sharpening.shift_class(rank),
        "kendall_tau": sharpening.kendall_tau(q, p, top),
        "top_k_jaccard": sharpening.top_k_jaccard(q, p, top),
    }


def pool(readings: Iterable[list[torch.Tensor]], held: Held, prompts: int, cap: float) -> dict[str, np.ndarray]:
    """One beta a prompt, and one for all, of every later stage: arrays with the stage axis first.

    `readings` are the log-probabilities of every chunk, by stage over its rows and the vocabulary.
    """
    by_prompt = [torch.from_numpy(chunk.prompt) for chunk in held.chunks]
    together = [torch.zeros_like(group) for group in by_prompt]
    found: dict[str, np.ndarray] = {}
    for name, groups, count in (("prompt", by_prompt, prompts), ("global", together, 1)):
        stages = range(1, len(held.chain.stages))
        pooled = [sharpening.pooled_beta(BesideBase(readings, s, groups), count, cap=cap) for s in stages]
        for kind, values in (
            ("beta", [each.beta for each in pooled]),
            ("temperature_share", [each.share for each in pooled]),
            ("capped", [each.capped.double() for each in pooled]),
        ):
            stacked = torch.stack(values).numpy()
            found[f"{kind}_{name}"] = stacked if name == "prompt" else stacked[:, 0]
    return found
