"""Activations of a checkpoint on given tokens, by TransformerLens hooks; exactly the sites asked for.

The residual stream is read at its unique points in the order of computation: `resid_pre` of layer 0, then `resid_mid`
(where the architecture has one) and `resid_post` of every layer. `resid_pre` of a later layer is `resid_post` of the
one before.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int

from mcinterp.batching import Batch, Side, batches
from mcinterp.budget import bytes_on
from mcinterp.chain import Stage
from mcinterp.readout import assert_reads_like_the_model

ACTIVATION_BYTES = 256 * 2**20
MOST_TOKENS = 16_384


class Point(NamedTuple):
    """A place in the residual stream."""

    layer: int
    site: str

    @property
    def hook(self) -> str:
        """Its TransformerLens hook name."""
        return f"blocks.{self.layer}.hook_{self.site}"


@dataclass(frozen=True)
class Activations:
    """Activations of one batch by hook name, each with the batch's rows and columns first."""

    batch: Batch
    by_hook: dict[str, torch.Tensor]

    def __getitem__(self, hook: str) -> torch.Tensor:
        return self.by_hook[hook]

    def rows(self, hook: str) -> Float[torch.Tensor, "token d_model"]:
        """The activations at the cells that hold a token, row by row."""
        value = self.by_hook[hook]
        return value[self.batch.present.to(value.device)]


def is_parallel(stage: Stage) -> bool:
    """Whether attention and MLP read the same stream, so that there is no point between them."""
    return bool(getattr(stage.bridge.cfg, "parallel_attn_mlp", False))


def residual_points(stage: Stage) -> list[Point]:
    """The unique points of the residual stream, in the order of computation."""
    sites = ("resid_post",) if is_parallel(stage) else ("resid_mid", "resid_post")
    return [Point(0, "resid_pre"), *(Point(layer, site) for layer in range(stage.n_layers) for site in sites)]


def capture(stage: Stage, batch: Batch, hooks: Sequence[str]) -> Activations:
    """One forward pass over a batch that keeps the activations at the given hooks.

    Hooks of the caller's own ride along; the ones added here are gone afterwards, also after an error. Raises
    `LookupError` for a hook that did not fire, so that nothing is ever silently empty.
    """
    kept: dict[str, torch.Tensor] = {}
    last = Point(stage.n_layers - 1, "resid_post").hook
    wanted = list(dict.fromkeys((*hooks, last)))
    logits = run_with(stage, batch, [(name, keeper(kept, name)) for name in wanted])
    missing = [name for name in wanted if name not in kept]
    if missing:
        raise LookupError(f"stage {stage.name!r}: the hooks {missing} did not fire; its architecture has no such site.")
    assert_reads_like_the_model(stage.name, stage.readout, kept[last][:, -1], logits[:, -1], stage.dtype)
    return Activations(batch, {name: kept[name] for name in hooks})


def keeper(kept: dict[str, torch.Tensor], name: str) -> Any:
    """A hook that keeps a copy of its activation (a cached tensor would be aliased by later in-place hooks)."""

    def keep(activation: torch.Tensor, hook: Any) -> None:
        kept[name] = activation.detach().clone()

    return keep


@torch.inference_mode()
def run_with(stage: Stage, batch: Batch, fwd_hooks: list[tuple[str, Any]]) -> Float[torch.Tensor, "row one vocabulary"]:
    """Run a batch under hooks; logits of the last column only."""
    with stage.bridge.hooks(fwd_hooks=fwd_hooks):
        return stage.bridge(
            batch.tokens.to(stage.device), attention_mask=batch.attention.to(stage.device), logits_to_keep=1
        )


def bytes_a_token(stage: Stage, n_sites: int) -> int:
    """Bytes that the activations of one token take at `n_sites` sites of the residual stream's width."""
    return n_sites * int(stage.bridge.cfg.d_model) * torch.finfo(stage.dtype).bits // 8


def affordable_tokens(stage: Stage, n_sites: int, max_bytes: int | None = None) -> int:
    """Tokens a batch may hold so that the activations kept of it stay within `max_bytes`; at most `MOST_TOKENS`.

    Without a limit, that is what the stage's device has room for.
    """
    limit = bytes_on(stage, ACTIVATION_BYTES) if max_bytes is None else max_bytes
    return min(MOST_TOKENS, max(1, limit // bytes_a_token(stage, n_sites)))


def capture_residuals(
    stage: Stage,
    sequences: Sequence[Sequence[int]],
    *,
    max_bytes: int | None = None,
    side: Side = "right",
) -> Iterator[Activations]:
    """The residual stream at all its points, batch by batch."""
    hooks = [point.hook for point in residual_points(stage)]
    for batch in batches(sequences, max_tokens=affordable_tokens(stage, len(hooks), max_bytes), side=side):
        yield capture(stage, batch, hooks)


def run_on(
    stage: Stage, tokens: Int[torch.Tensor, "row column"], attention: torch.Tensor, cache: Any
) -> tuple[torch.Tensor, Any]:
    """Logits after the newest token of each row (row, 1, vocabulary as stored), and the cache with the tokens in it.

    `attention` marks what is there of the cache and of the tokens behind it; no cache begins one.
    """
    return stage.bridge(
        tokens.to(stage.device),
        attention_mask=attention.to(stage.device),
        return_type="logits_and_cache",
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )


def final_residuals(
    stage: Stage, tokens: Int[torch.Tensor, "row column"], attention: torch.Tensor, cache: Any
) -> tuple[torch.Tensor, Any]:
    """The last layer's residual stream at tokens behind a cache (row, column, d_model), and the cache; as `run_on`."""
    hook = Point(stage.n_layers - 1, "resid_post").hook
    kept: dict[str, torch.Tensor] = {}
    with stage.bridge.hooks(fwd_hooks=[(hook, keeper(kept, hook))]):
        _, cache = run_on(stage, tokens, attention, cache)
    return kept[hook], cache
