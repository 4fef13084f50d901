"""Many variants of one prompt's run in one forward pass: below the edited layer the prompt runs once.

A hook at the input of the edited layer repeats the one row, hooks above it edit each row in its own way. A row that is
not edited stands beside them, so that what growing alone changes (rounding) is measured.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int

from mcinterp import divergence
from mcinterp.batching import batches, pad
from mcinterp.capture import Point, affordable_tokens, bytes_a_token, capture, run_with
from mcinterp.chain import Chain, Stage
from mcinterp.divergence import Followed
from mcinterp.intervene.metrics import METRICS, OF_ONE_RUN, Reading, evaluate
from mcinterp.intervene.sites import carried
from mcinterp.readout import assert_reads_like_the_model
from mcinterp.sequences import Sequences

RUN_BYTES = 256 * 2**20
LOGIT_BYTES = 64 * 2**20
MEASURES = (*OF_ONE_RUN, "kl_to_recipient", "top_token")

Edit = Callable[[torch.Tensor], torch.Tensor]
Rows = Float[torch.Tensor, "row d_model"]
LogProbs = Float[torch.Tensor, "row vocabulary"]
Measured = dict[str, torch.Tensor]


def prefixes(sequences: Sequences, read_at: int) -> list[tuple[int, ...]]:
    """Every sequence up to the read position (0: the prompt), which is all that the read distribution depends on."""
    lengths = [len(ids) + read_at for ids in sequences.prompts.token_ids]
    return [ids[:length] for ids, length in zip(sequences.ids, lengths, strict=True)]


@torch.inference_mode()
def last_residuals(stage: Stage, ids: Sequence[Sequence[int]]) -> Float[torch.Tensor, "prompt d_model"]:
    """The final residual of clean runs at the last token of each sequence, float32."""
    hook = Point(stage.n_layers - 1, "resid_post").hook
    found = torch.zeros(len(ids), int(stage.bridge.cfg.d_model), device=stage.readout.weight.device)
    for batch in batches(ids, max_tokens=affordable_tokens(stage, 1)):
        found[list(batch.indices)] = at_ends(capture(stage, batch, [hook])[hook], batch.lengths).float().to(found)
    return found


def at_ends(activation: Float[torch.Tensor, "row column ..."], lengths: Sequence[int]) -> torch.Tensor:
    """What stands at the last token of each row of a right-padded batch."""
    return activation[torch.arange(len(lengths)), torch.as_tensor(lengths) - 1]


@torch.inference_mode()
def grown_residuals(stage: Stage, ids: Sequence[int], layer: int, rows: int, edits: Sequence[tuple[str, Edit]]) -> Rows:
    """The final residual at the last token of `rows` copies of one prompt, edited from a layer on; float32.

    Each edit is a hook name of that layer or one above and a function of its activation (row first), which must return
    a new tensor. Hooks are gone afterwards, also after an error. Raises `LookupError` for a hook that did not fire.
    """
    fired: set[str] = set()
    last = Point(stage.n_layers - 1, "resid_post").hook
    kept: dict[str, torch.Tensor] = {}

    def grow(activation: torch.Tensor, hook: Any) -> torch.Tensor:
        return activation.expand(rows, *activation.shape[1:]).clone()

    def edited(name: str, edit: Edit) -> Any:
        def change(activation: torch.Tensor, hook: Any) -> torch.Tensor:
            fired.add(name)
            return edit(activation)

        return change

    def keep(activation: torch.Tensor, hook: Any) -> None:
        kept[last] = activation[:, -1].detach().clone()

    changes = carried([(name, edited(name, edit)) for name, edit in edits])
    logits = run_with(stage, pad([ids]), [(f"blocks.{layer}.hook_in", grow), *changes, (last, keep)])
    missing = [name for name, _ in edits if name not in fired]
    if missing or last not in kept or len(kept[last]) != rows:
        raise LookupError(
            f"stage {stage.name!r}: the hooks {missing or last} did not fire; its architecture has no such site."
        )
    assert_reads_like_the_model(stage.name, stage.readout, kept[last], logits[:, -1], stage.dtype)
    return kept[last].float().to(stage.readout.weight.device)


def rows_at_once(stage: Stage, length: int) -> int:
    """Copies of a prompt that run together: their widest activations (those of an MLP) stay within `RUN_BYTES`."""
    config = stage.bridge.cfg
    width = max(1, -(-int(config.d_mlp or 4 * config.d_model) // int(config.d_model)))
    return max(2, RUN_BYTES // (length * bytes_a_token(stage, 4 * width)))


@torch.inference_mode()
def followed(chain: Chain, finals: Sequence[Rows], attractor: int | None) -> Followed:
    """What is followed after each prompt: the last stage's most likely token, or a named one, against the base's."""
    base, q = (stage.readout.log_probs(rows) for stage, rows in ((chain.base, finals[0]), (chain.tuned, finals[-1])))
    return divergence.followed(base, q, attractor)


@torch.inference_mode()
def measured(
    read: Callable[[Rows], LogProbs],
    residuals: Rows,
    clean: Float[torch.Tensor, "prompt vocabulary"],
    prompts: Int[torch.Tensor, "row"],
    follow: Followed,
) -> Measured:
    """The measures of rows of final residuals, each beside its prompt's clean distribution; nats, float64."""
    size = max(1, LOGIT_BYTES // (4 * clean.shape[-1]))
    parts = []
    for rows, each in zip(residuals.split(size), prompts.split(size), strict=True):
        q, own, at = read(rows), clean[each.to(clean.device)], each.to(follow.attractor.device)
        reading = Reading(
            q,
            own.to(q),
            own.to(q),
            *(part[at].to(q.device) for part in (follow.attractor, follow.rivals, follow.belongs)),
        )
        parts.append(evaluate({name: METRICS[name] for name in MEASURES}, reading))
    return {name: torch.cat([part[name] for part in parts]) for name in MEASURES}
