"""Finds out, once for a loaded checkpoint, whether its layers can be run on their own with the same numbers."""

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch

from mcinterp.batching import pad
from mcinterp.budget import is_out_of_memory
from mcinterp.chain import Stage
from mcinterp.divergence import log_probs
from mcinterp.intervene.clean_rows import CleanRows
from mcinterp.intervene.dissection import Undissectable
from mcinterp.intervene.editing import Editor
from mcinterp.intervene.layout import Tokens
from mcinterp.intervene.means import Means
from mcinterp.intervene.plain import forward
from mcinterp.intervene.stage_run import StageRun
from mcinterp.passes import BatchRun, Inputs

PROBE_TOKENS = 48
TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-6}
HALF_TOLERANCE = 0.5
FAILURES = (Undissectable, TypeError, AttributeError, LookupError, ValueError, RuntimeError)

known: WeakKeyDictionary[Any, str | None] = WeakKeyDictionary()


def why_not(stage: Stage, ids: Sequence[int]) -> str | None:
    """Why a stage cannot be taken apart into layers, or None where it can; asked once for a loaded model."""
    if stage.bridge not in known:
        known[stage.bridge] = first_difference(stage, tuple(ids[:PROBE_TOKENS]))
    return known[stage.bridge]


@torch.inference_mode()
def first_difference(stage: Stage, ids: Sequence[int]) -> str | None:
    """What goes wrong when the layers run one by one on a sequence; None where the logits are the model's own.

    Where layers are read from disk, the model's own calls of its layers run beside, so that each is read once.
    """
    beside = run_of(stage, ids) if stage.hold.in_turns else None
    try:
        apart = layer_by_layer(stage, ids, beside)
    except FAILURES as error:
        if is_out_of_memory(error):
            raise
        return f"{type(error).__name__}: {error}"
    logits = beside.logits()[0] if beside is not None else forward(stage, ids, [])[-1:]
    whole = log_probs(logits[-1, : stage.readout.vocabulary]).to(apart.device)
    worst = float((apart - whole)[whole > -15.0].abs().max())
    exact = TOLERANCE.get(stage.dtype, HALF_TOLERANCE)
    if not worst <= (HALF_TOLERANCE if stage.checkpoint.quantised else exact):
        return f"layer by layer its log-probabilities differ by {worst:.2g} nats"
    return None


def run_of(stage: Stage, ids: Sequence[int]) -> BatchRun:
    """The model's own run of one sequence, layer by layer."""
    batch = pad([ids])
    return BatchRun(stage, Inputs(batch.tokens, batch.attention))


def layer_by_layer(stage: Stage, ids: Sequence[int], beside: BatchRun | None = None) -> torch.Tensor:
    """Log-probabilities after a sequence, each layer called on its own; another run goes along, layer by layer."""
    tokens = Tokens([len(ids)], [])
    last = tokens.trunk(0)[-1:]
    run = StageRun(stage, Editor(stage, 0, tokens, CleanRows(), Means({}, [0])), [ids], [True], last)
    for layer in range(stage.n_layers):
        run.enter(layer, run.begin(layer), trunk=True, branches=False)
        if beside is not None:
            beside.advance(layer)
    readout = stage.readout
    return log_probs(readout.finish(readout.product(run.normed(last).to(readout.weight.device))))[0]
