"""Many batches through a model layer by layer: all of them through one layer before the next is entered.

So a model whose layers are read from disk is read once, whatever the number of batches. What the model itself passes
to each layer is recorded by its own forward pass with the layers replaced by recorders, and its head runs by the same
forward pass with the result of the last layer put in; the numbers are those of one forward pass a batch.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Float

from mcinterp.batching import Batch
from mcinterp.capture import Point
from mcinterp.chain import Stage
from mcinterp.readout import assert_reads_like_the_model

HIDDEN_BYTES = 2**30

Keep = Callable[[int, str, torch.Tensor], None]


class Call(NamedTuple):
    """What a model passes to one layer, its hidden states apart."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class Recording:
    """Stands in for the layers during a forward pass: keeps their arguments, and puts hidden states in at the last."""

    def __init__(self, put: torch.Tensor | None = None) -> None:
        self.calls: list[Call] = []
        self.entering: torch.Tensor | None = None
        self.put = put

    def stand_in(self, *args: Any, **kwargs: Any) -> Any:
        """In the place of a layer."""
        hidden = args[0] if args else kwargs["hidden_states"]
        self.entering = hidden if self.entering is None else self.entering
        rest = {name: value for name, value in kwargs.items() if name != "hidden_states"}
        self.calls.append(Call(args[1:], rest))
        return hidden if self.put is None else self.put


@contextmanager
def standing_in(stage: Stage, recording: Recording) -> Iterator[None]:
    """Replace all layers for a while."""
    blocks = list(stage.bridge.blocks)
    try:
        for block in blocks:
            object.__setattr__(block, "forward", recording.stand_in)
        yield
    finally:
        for block in blocks:
            block.__dict__.pop("forward", None)


def around_layers(stage: Stage, batch: Batch, recording: Recording) -> torch.Tensor:
    """A forward pass with the layers replaced: logits of the last column."""
    with standing_in(stage, recording):
        return stage.bridge(
            batch.tokens.to(stage.device),
            attention_mask=batch.attention.to(stage.device),
            logits_to_keep=1,
            use_cache=False,
        )


class BatchRun:
    """One batch on its way through the layers of a stage."""

    def __init__(self, stage: Stage, batch: Batch) -> None:
        self.stage, self.batch = stage, batch
        recording = Recording()
        around_layers(stage, batch, recording)
        assert recording.entering is not None
        assert len(recording.calls) == stage.n_layers
        self.hidden, self.calls = recording.entering, recording.calls

    def advance(self, layer: int) -> None:
        """Run one layer."""
        call = self.calls[layer]
        output = self.stage.bridge.blocks[layer](self.hidden, *call.args, **call.kwargs)
        self.hidden = output[0] if isinstance(output, tuple) else output

    def logits(self) -> Float[torch.Tensor, "row one vocabulary"]:
        """Logits of the last column."""
        return around_layers(self.stage, self.batch, Recording(self.hidden))


@torch.inference_mode()
def capture_by_layers(stage: Stage, batches: Sequence[Batch], hooks: Sequence[str], keep: Keep) -> None:
    """Run batches layer by layer; `keep` gets (number of the batch, hook, activation) as each fires.

    An activation may be changed by what runs later: `keep` copies what it wants. Raises `LookupError` for a hook that
    did not fire.
    """
    last = Point(stage.n_layers - 1, "resid_post").hook
    wanted = list(dict.fromkeys((*hooks, last)))
    fired: set[str] = set()

    def on(number: int, name: str, activation: torch.Tensor, hook: Any) -> None:
        fired.add(name)
        if name in hooks:
            keep(number, name, activation)

    for wave in waves(stage, batches):
        runs = [(number, BatchRun(stage, batches[number])) for number in wave]
        for layer in range(stage.n_layers):
            here = [name for name in wanted if name.startswith(f"blocks.{layer}.")]
            for number, run in runs:
                with stage.bridge.hooks(fwd_hooks=[(name, partial(on, number, name)) for name in here]):
                    run.advance(layer)
        for _, run in runs:
            logits = run.logits()[:, -1]
            assert_reads_like_the_model(stage.name, stage.readout, run.hidden[:, -1], logits, stage.dtype)
    missing = [name for name in wanted if name not in fired]
    if missing:
        raise LookupError(f"stage {stage.name!r}: the hooks {missing} did not fire; its architecture has no such site.")


def waves(stage: Stage, batches: Sequence[Batch]) -> Iterator[list[int]]:
    """Numbers of batches whose hidden states fit in `HIDDEN_BYTES` together (one at least)."""
    width = int(stage.bridge.cfg.d_model) * torch.finfo(stage.dtype).bits // 8
    waiting: list[int] = []
    size = 0
    for number, batch in enumerate(batches):
        own = batch.tokens.numel() * width
        if waiting and size + own > HIDDEN_BYTES:
            yield waiting
            waiting, size = [], 0
        waiting.append(number)
        size += own
    if waiting:
        yield waiting
