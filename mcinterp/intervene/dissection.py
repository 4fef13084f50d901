"""Runs single layers of a model outside its own forward pass, without knowing its architecture.

What the model itself passes to each layer (masks, rotary embeddings, positions) is recorded once for a batch by its own
forward pass with the layers replaced by recorders. A layer is then called on any tokens of that batch: the recorded
arguments are looked up by the column that a token stands in, and the keys and values it attends to come from a store
that takes the place of the key-value cache. The real TransformerLens blocks run, so hooks fire.
"""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int

from mcinterp.batching import Batch
from mcinterp.chain import Stage

CACHE_NAMES = ("past_key_values", "layer_past", "past_key_value")
IGNORED = ("use_cache", "cache_position", "output_attentions", "output_hidden_states")


class Undissectable(Exception):
    """A model whose layers cannot be run on their own; its message says why."""


class RecordingDone(Exception):
    """Ends the forward pass that only records."""


class ProjectionsDone(Exception):
    """Ends a layer once its keys and values are stored."""


@dataclass(frozen=True)
class Recorded:
    """What a model gives to its layers for a batch: the first layer's input, and each layer's named arguments.

    `allowed` says for each layer which column its mask lets attend to which; `cache_name` is what its layers call the
    key-value cache.
    """

    hidden: Float[torch.Tensor, "sequence column d_model"]
    arguments: tuple[dict[str, Any], ...]
    cache_name: str
    allowed: tuple[Bool[torch.Tensor, "sequence column column"], ...]


@torch.inference_mode()
def record(stage: Stage, batch: Batch) -> Recorded:
    """Record what the stage passes to its layers for a right-padded batch.

    Raises `Undissectable` for arguments that cannot be looked up by column.
    """
    calls: list[dict[str, Any]] = []
    with recorders(stage, calls), suppress(RecordingDone):
        stage.bridge(batch.tokens.to(stage.device), attention_mask=batch.attention.to(stage.device), logits_to_keep=1)
    if len(calls) != stage.n_layers:
        raise Undissectable(f"its forward pass called {len(calls)} layers of {stage.n_layers}")
    hidden = [call.pop("hidden_states") for call in calls]
    known: dict[int, torch.Tensor] = {}
    allowed = tuple(allowed_keys(call.pop("attention_mask", None), batch, stage.device, known) for call in calls)
    for call in calls:
        require_known(call, batch)
    parameters = inspect.signature(stage.bridge.blocks[0].original_component.forward).parameters
    name = next((name for name in CACHE_NAMES if name in parameters), CACHE_NAMES[0])
    return Recorded(hidden[0], tuple(calls), name, allowed)


@contextmanager
def recorders(stage: Stage, calls: list[dict[str, Any]]) -> Iterator[None]:
    """Replace the layers by recorders of their arguments; the last one ends the forward pass."""
    blocks = list(stage.bridge.blocks)
    try:
        for number, block in enumerate(blocks):
            object.__setattr__(block, "forward", recorder(block, calls, last=number == len(blocks) - 1))
        yield
    finally:
        for block in blocks:
            block.__dict__.pop("forward", None)


def recorder(block: Any, calls: list[dict[str, Any]], *, last: bool) -> Any:
    """A stand-in for one layer: keeps its arguments by name and passes its input through."""
    signature = inspect.signature(block.original_component.forward)

    def keep(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind_partial(*args, **kwargs).arguments
        bound.update(bound.pop("kwargs", {}))
        first = next(iter(signature.parameters))
        bound["hidden_states"] = bound.pop(first)
        calls.append({k: v for k, v in bound.items() if v is not None and k not in (*CACHE_NAMES, *IGNORED)})
        if last:
            raise RecordingDone
        return (bound["hidden_states"],)

    return keep


def allowed_keys(mask: Any, batch: Batch, device: str, known: dict[int, torch.Tensor]) -> torch.Tensor:
    """Which column may attend to which, from the mask that a layer was given; the causal one where it got none."""
    if mask is None:
        length = batch.tokens.shape[1]
        return torch.ones(1, length, length, dtype=torch.bool, device=device).tril()
    if id(mask) not in known:
        if not isinstance(mask, torch.Tensor) or mask.ndim != 4 or mask.shape[1] != 1:
            raise Undissectable("its layers take a mask of another form than [sequence, 1, query, key]")
        plain = mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min / 2
        if mask.dtype != torch.bool and bool((mask[plain] != 0).any()):
            raise Undissectable("its masks carry biases")
        known[id(mask)] = plain[:, 0]
    return known[id(mask)]


def require_known(arguments: dict[str, Any], batch: Batch) -> None:
    """Refuse tensors among a layer's arguments that are not known to be looked up by column."""
    for name, value in arguments.items():
        tensors = value if isinstance(value, tuple | list) else [value]
        if name not in ("position_embeddings", "position_ids") and any(isinstance(t, torch.Tensor) for t in tensors):
            raise Undissectable(f"its layers take {name!r}, which is not known here")
        if name == "position_embeddings" and any(t.ndim != 3 or t.shape[1] != batch.tokens.shape[1] for t in tensors):
            raise Undissectable("its rotary embeddings have another form than [sequence, column, width]")


def by_column(value: torch.Tensor, sequence: torch.Tensor, column: torch.Tensor) -> torch.Tensor:
    """A recorded argument over [sequence or 1, column, ...] at the tokens' own columns."""
    return value[0, column] if value.shape[0] == 1 else value[sequence, column]


class KeyStore:
    """Keys and values of one layer by token, in the place of a key-value cache.

    While a layer runs, its new keys and values are stored, and each group gets those it attends to.
    """

    is_compileable = False

    def __init__(self, n_tokens: int) -> None:
        self.n_tokens = n_tokens
        self.keys: torch.Tensor | None = None
        self.values: torch.Tensor | None = None
        self.ids: torch.Tensor = torch.empty(0)
        self.wanted: torch.Tensor | None = None
        self.stop: bool = False

    def clear(self) -> None:
        """Forget all keys and values."""
        self.keys = self.values = None

    def expect(self, ids: torch.Tensor, wanted: torch.Tensor | None, *, stop: bool = False) -> None:
        """Say which tokens come next and which stored ones each group attends to (None: its own, in order)."""
        self.ids, self.wanted, self.stop = ids, wanted, stop

    def update(self, keys: torch.Tensor, values: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Store what came (over group, head, slot, width) and give what is attended to."""
        own = self.rows(self.ids, keys.shape[1]).to(keys.device)
        self.keys, self.values = self.stored(self.keys, keys, own), self.stored(self.values, values, own)
        if self.stop:
            raise ProjectionsDone
        if self.wanted is None:
            return keys, values
        picked = self.rows(self.wanted, keys.shape[1]).to(keys.device)
        return self.keys[picked], self.values[picked]

    @staticmethod
    def rows(ids: torch.Tensor, n_heads: int) -> torch.Tensor:
        """Rows of the store for tokens (over group, slot) and all heads: over group, head, slot."""
        return ids[:, None] * n_heads + torch.arange(n_heads, device=ids.device)[:, None]

    def stored(self, store: torch.Tensor | None, new: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """The store with new rows in it, flat: one for each token and head, so that reading is a single copy."""
        shape = ((self.n_tokens + 1) * new.shape[1], new.shape[3])
        if store is None or store.shape != shape or store.device != new.device:
            store = new.new_zeros(*shape)
        return store.index_copy_(0, rows.flatten(), new.reshape(-1, new.shape[3]))

    def get_seq_length(self, *_: Any) -> int:
        """No token precedes those that enter."""
        return 0


def run_layer(
    stage: Stage,
    recorded: Recorded,
    layer: int,
    hidden: Float[torch.Tensor, "group slot d_model"],
    sequence: Int[torch.Tensor, "group slot"],
    column: Int[torch.Tensor, "group slot"],
    mask: torch.Tensor,
    store: KeyStore,
) -> torch.Tensor | None:
    """One layer's output for the given tokens; None where the store stops it at its keys and values."""
    block = stage.bridge.blocks[layer]
    arguments = dict(recorded.arguments[layer])
    if "position_embeddings" in arguments:
        arguments["position_embeddings"] = tuple(
            by_column(each, sequence, column) for each in arguments["position_embeddings"]
        )
    if "position_ids" in arguments:
        arguments["position_ids"] = by_column(arguments["position_ids"], sequence, column)
    try:
        output = block(hidden, attention_mask=mask, **arguments, **{recorded.cache_name: store})
    except ProjectionsDone:
        return None
    return output[0] if isinstance(output, tuple) else output
