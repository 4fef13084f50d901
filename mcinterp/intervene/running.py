"""Runs a plan batch by batch, by the fast sweep or the plain loop, and checks one against the other."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch

from mcinterp.budget import allowed
from mcinterp.errors import InputError
from mcinterp.intervene.means import MeanTable, mean_activations
from mcinterp.intervene.metrics import IDS, METRICS, Metric
from mcinterp.intervene.plain import run_plainly
from mcinterp.intervene.plan import Batch, Branch, Plan, batch_of, batches_of
from mcinterp.intervene.probe import why_not
from mcinterp.intervene.sweep import Ends, Finals, Tick, run_sweep
from mcinterp.intervene.table import Table
from mcinterp.intervene.turns import run_in_turns
from mcinterp.progress import Progress

MOST_TOKENS = 16_384
MOST_NUMBERS = 8 * 2**20
END_BYTES = 256 * 2**20
NOISE_LIMIT = 1e-5

Engine = Literal["auto", "fast", "plain"]
RunBatch = Callable[[Plan, Batch, MeanTable, Tick], Iterator[Ends | Finals]]


class Ran(NamedTuple):
    """A filled table, the engine that filled it and why not the fast one, and the noise floor in nats."""

    table: Table
    engine: str
    reason: str
    noise_floor: float


def run_plan(
    plan: Plan, metrics: Mapping[str, Metric], attractor: int | None, engine: str, max_bytes: int, what: str
) -> Ran:
    """Run everything that a plan asks for.

    With the engine `auto`, stages that cannot be taken apart run plainly, and so does everything again where the fast
    sweep moves a run by putting its own activations back; both are warned about once.
    """
    if engine not in get_args(Engine):
        raise InputError(f"engine {engine!r} is unknown; give one of {', '.join(get_args(Engine))}.")
    reason = "asked for" if engine == "plain" else obstacle(plan)
    if reason and engine == "fast":
        raise InputError(f"the fast engine cannot run this: {reason}; use the engine auto or plain.")
    if reason is None:
        table = run_batches(plan, metrics, attractor, run_sweep, max_bytes, what)
        noise = table.noise(in_nats(metrics))
        if not (noise.relative > NOISE_LIMIT and exact(plan)) or engine == "fast":
            return Ran(table, "fast", "", noise.floor)
        reason = f"own activations put back changed a result by {noise.floor:.2g} nats"
    if engine == "auto":
        warnings.warn(f"patching runs one forward pass per cell, which is slow: {reason}.", stacklevel=3)
    table = run_batches(plan, metrics, attractor, run_plainly, max_bytes, what)
    return Ran(table, "plain", reason, table.noise(in_nats(metrics)).floor)


def obstacle(plan: Plan) -> str | None:
    """Why some stage of the plan cannot be taken apart into layers; None where all can."""
    shortest = min(plan.ids, key=len)
    numbers = {0, len(plan.chain.stages) - 1} | {end for d in plan.directions for end in (d.donor, d.recipient)}
    for number in sorted(numbers):
        stage = plan.chain.stages[number]
        why = why_not(stage, shortest)
        if why is not None:
            return f"stage {stage.name!r} cannot be taken apart into layers ({why})"
    return None


def exact(plan: Plan) -> bool:
    """Whether the plan runs in full precision on the CPU, where own activations put back must change nothing."""
    return all(
        stage.device == "cpu" and stage.dtype in (torch.float32, torch.float64) and not stage.checkpoint.quantised
        for stage in plan.chain.stages
    )


def in_nats(metrics: Mapping[str, Metric]) -> list[str]:
    """The built-in metrics that are quantities, not token ids."""
    return [name for name in metrics if name in METRICS and name not in IDS]


def run_batches(
    plan: Plan, metrics: Mapping[str, Metric], attractor: int | None, run: RunBatch, max_bytes: int, what: str
) -> Table:
    """Fill a table batch by batch, with a line of progress."""
    table, means = Table(plan, metrics, attractor), means_for(plan)
    batches = list(batches_of(plan, affordable(plan, max_bytes), affordable_ends(plan)))
    layers = plan.chain.base.n_layers
    with Progress(total=len(batches) * layers, desc=what, unit="layer") as progress:
        if run is run_sweep and plan.chain.hold.in_turns:
            fill(table, run_in_turns(plan, batches, means, progress.update))
        else:
            fill(table, one_after_the_other(plan, batches, run, means, progress.update))
    return table


def one_after_the_other(
    plan: Plan, batches: Iterable[Batch], run: RunBatch, means: MeanTable, tick: Tick
) -> Iterator[tuple[Batch, Ends | Finals]]:
    """What every batch reads, each batch run by itself."""
    for batch in batches:
        for reading in run(plan, batch, means, tick):
            yield batch, reading


@torch.inference_mode()
def fill(table: Table, readings: Iterator[tuple[Batch, Ends | Finals]]) -> None:
    """Put what batches read into a table."""
    for batch, reading in readings:
        if isinstance(reading, Ends):
            table.take_ends(batch, reading)
        else:
            table.take(batch, reading)


def means_for(plan: Plan) -> MeanTable:
    """Mean activations of the donor stages, where the plan draws from them."""
    if plan.donor != "mean":
        return {}
    sequences = range(len(plan.ids) - plan.n_prompts, len(plan.ids))
    places = list(dict.fromkeys((edit.site, edit.layer) for cell in plan.cells for edit in cell.edits))
    stages = sorted({direction.donor for direction in plan.directions})
    back = [plan.back_from(sequence) for sequence in sequences]
    return mean_activations(plan.chain, stages, places, [plan.ids[s] for s in sequences], back)


def affordable(plan: Plan, max_bytes: int) -> int:
    """Tokens of a batch whose hidden states, keys and values fit in `max_bytes` for all stages."""
    config, stages = plan.chain.base.bridge.cfg, plan.chain.stages
    width = 2 * int(config.d_model) + 2 * int(config.n_key_value_heads or config.n_heads) * int(config.d_head)
    bytes_a_token = width * sum(torch.finfo(stage.dtype).bits // 8 for stage in stages)
    return allowed(max(1, min(MOST_TOKENS, MOST_NUMBERS // int(config.d_model), max_bytes // bytes_a_token)))


def affordable_ends(plan: Plan) -> int:
    """Prompts of a batch whose clean distributions fit in memory."""
    row = 4 * plan.chain.alignment.vocabulary * len(plan.reads) * len(plan.chain.stages)
    return allowed(max(1, END_BYTES // row))


def verify_cells(
    plan: Plan, ran: Ran, metrics: Mapping[str, Metric], attractor: int | None, count: int
) -> dict[str, int | float]:
    """Run some random branches plainly and give the largest difference to the table, in nats.

    Both follow the same tokens: where two are equally likely, in half precision above all, rounding decides which is
    the tuned stage's most likely one.
    """
    if count < 1 or ran.engine == "plain":
        return {"cells": 0, "largest_difference": 0.0}
    random = np.random.default_rng(plan.seed)
    prompts = random.integers(plan.n_prompts, size=count)
    chosen: list[Branch] = []
    for prompt in prompts.tolist():
        branches = list(plan.branches(prompt))
        if branches:
            chosen.append(branches[int(random.integers(len(branches)))])
    plainly, means = Table(plan, metrics, attractor, like=ran.table), means_for(plan)
    alone = [batch_of(plan, [branch]) for branch in chosen]
    fill(plainly, one_after_the_other(plan, alone, run_plainly, means, bool))
    worst = 0.0
    for name in in_nats(metrics):
        there = ~np.isnan(plainly.values[name])
        gap = np.abs(plainly.values[name][there] - ran.table.values[name][there])
        worst = max(worst, float(gap.max(initial=0.0)))
    return {"cells": len(chosen), "largest_difference": worst}
