"""The logit lens of hidden states as transformers gives them (`output_hidden_states=True`).

Its last hidden state is not the last residual stream: the final norm has been applied to it. Reading it through the
norm again gives numbers that look right and are not.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import xarray as xr

from mcinterp.capture import Point
from mcinterp.chain import Chain, Stage
from mcinterp.divergence import log_probs
from mcinterp.errors import InputError
from mcinterp.interop.models import chain_from_models
from mcinterp.interop.rows import Given, Mask, Stream, by_stage, read_streams, require_tokens
from mcinterp.lens import Lens, LogProbs, Rows
from mcinterp.readout import TOLERANCE

ALONE = "model"
LIKELY = -15.0


def logit_lens_of_hidden_states(
    output: Any,
    model: Any,
    tokens: Any,
    *,
    tokenizer: Any,
    attention_mask: Any = None,
    prompt_lengths: Sequence[int] | None = None,
    attractor: int | None = None,
    top: int = 5,
) -> xr.Dataset:
    """The logit lens, from what `model(tokens, output_hidden_states=True)` of transformers returned.

    Args:
        output: The whole output, with `hidden_states` and `logits`, or a mapping from stage names to outputs on the
            same tokens, base first.
        model: The model that gave it (or a bridge of it), or a mapping from the same names.
        tokens: The token ids, batch by column.
        tokenizer: One for all stages, or a mapping; see `chain_from_models`.
        attention_mask: 1 where a token is no padding, as it was given to the model; all by default.
        prompt_lengths: Tokens of each prompt where a completion stands behind it; all by default.
        attractor: The followed token id; by default, at each position, the last stage's most likely token.
        top: How many of the most likely tokens are kept.

    Returns:
        The dataset of `mcinterp.logit_lens` under the lens `own`, at `resid_pre` and `resid_post`; transformers does
        not give `resid_mid`. The last hidden state is unembedded without the final norm, which it has behind it.

    Raises:
        InputError: For outputs without hidden states or logits, or where the last hidden state, unembedded, does not
            give the output's own logits, so that it is not what transformers gives for this model.
    """
    several = isinstance(model, Mapping)
    models = dict(model) if several else {ALONE: model}
    outputs = by_stage("outputs", output if several else {ALONE: output}, list(models))
    chain = chain_from_models(models, tokenizer=tokenizer)
    ids, present = require_tokens(tokens, attention_mask, chain.alignment.vocabulary)
    streams = [streams_of(stage, each, present) for stage, each in zip(chain.stages, outputs, strict=True)]
    layers = range(chain.base.n_layers)
    points = (Point(0, "resid_pre"), *(Point(layer, "resid_post") for layer in layers))
    return read_streams(
        chain,
        Given(ids, present, points, streams),
        (own_but_last(chain, points[-1]),),
        prompt_lengths=prompt_lengths,
        attractor=attractor,
        top=top,
        source="hidden_states",
    )


def own_but_last(chain: Chain, last: Point) -> Lens:
    """Each stage's own norm and unembedding; the unembedding alone at the last point."""

    def read(number: int, point: Point, rows: Rows) -> LogProbs:
        stage = chain.stages[number]
        return unembedded(stage, rows) if point == last else stage.readout.log_probs(rows)

    return Lens("own", read)


def unembedded(stage: Stage, normed: Rows) -> LogProbs:
    """Log-probabilities of rows that the final norm has been applied to."""
    readout = stage.readout
    return log_probs(readout.finish(readout.product(normed.to(readout.weight.device, torch.float32))))


def streams_of(stage: Stage, output: Any, present: Mask) -> list[Stream]:
    """The hidden states of one output, proven to be this model's."""
    states, logits = getattr(output, "hidden_states", None), getattr(output, "logits", None)
    if states is None or logits is None:
        raise InputError(
            f"stage {stage.name!r}: the output has no hidden states or no logits; give what "
            f"model(tokens, output_hidden_states=True) returns, as a whole."
        )
    wanted = (*present.shape, int(stage.bridge.cfg.d_model))
    if len(states) != stage.n_layers + 1 or any(tuple(state.shape) != wanted for state in states):
        raise InputError(
            f"stage {stage.name!r}: got {len(states)} hidden states of shape {tuple(states[0].shape)} and "
            f"{stage.n_layers + 1} of shape {wanted} are wanted; give the output on these tokens."
        )
    if tuple(logits.shape[:2]) != tuple(present.shape):
        raise InputError(
            f"stage {stage.name!r}: the output has logits of shape {tuple(logits.shape)}; give one with the logits of "
            f"all positions."
        )
    require_normed(stage, states[-1][present.to(states[-1].device)], logits[present.to(logits.device)])
    return list(states)


@torch.inference_mode()
def require_normed(stage: Stage, rows: Rows, logits: torch.Tensor) -> None:
    """Refuse a last hidden state that, unembedded as it is, does not give the logits of the same output."""
    own = log_probs(logits[..., : stage.readout.vocabulary])
    error = (unembedded(stage, rows).to(own.device) - own).abs()[own > LIKELY].max()
    if not float(error) <= TOLERANCE.get(stage.dtype, 0.5):
        raise InputError(
            f"stage {stage.name!r}: its last hidden state, unembedded, is {float(error):.2g} nats away from the "
            f"output's logits, so it is not the normed one that transformers gives for this model; give the "
            f"output unchanged."
        )
