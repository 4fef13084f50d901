"""Many batches through a model layer by layer: all of them through one layer before the next is entered.

So a model whose layers are read from disk is read once, whatever the number of batches. What the model itself passes
to each layer is recorded by its own forward pass with the layers replaced by recorders, and its head runs by the same
forward pass with the result of the last layer put in; the numbers are those of one forward pass a batch.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int

from mcinterp.batching import Batch, waves
from mcinterp.budget import is_out_of_memory
from mcinterp.capture import Point, bytes_a_token
from mcinterp.chain import Stage
from mcinterp.errors import InputError
from mcinterp.readout import assert_reads_like_the_model

Keep = Callable[[int, str, torch.Tensor], None]


class Call(NamedTuple):
    """What a model passes to one layer, its hidden states apart."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class Recording:
    """Stands in for the layers during a forward pass: keeps their arguments, and puts hidden states in at the last.

    `in_tuple` says whether layers give their output in a tuple. `linked` stays true as long as each layer gets the very
    tensor that the one before gave, so that running the layers one after the other is what the model does.
    """

    in_tuple: bool
    put: torch.Tensor | None

    def __init__(self, *, in_tuple: bool = False, put: torch.Tensor | None = None) -> None:
        self.in_tuple, self.put = in_tuple, put
        self.calls: list[Call] = []
        self.entering: torch.Tensor | None = None
        self.given: torch.Tensor | None = None
        self.linked: bool = True

    def stand_in(self, *args: Any, **kwargs: Any) -> Any:
        """In the place of a layer."""
        hidden = args[0] if args else kwargs["hidden_states"]
        self.linked &= self.given is None or hidden is self.given
        self.entering = hidden if self.entering is None else self.entering
        rest = {name: value for name, value in kwargs.items() if name != "hidden_states"}
        self.calls.append(Call(args[1:], rest))
        through = hidden if self.put is None else self.put
        self.given = through.view(through.shape)
        return (self.given,) if self.in_tuple else self.given


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


class Inputs(NamedTuple):
    """What a forward pass is given: tokens, the mask over them, and the columns whose logits are wanted."""

    tokens: Int[torch.Tensor, "row column"]
    attention: Int[torch.Tensor, "row column"]
    columns: Int[torch.Tensor, "kept"] | int = 1


def logits_of(stage: Stage, inputs: Inputs) -> Float[torch.Tensor, "row kept vocabulary"]:
    """One forward pass: logits of the wanted columns."""
    columns = inputs.columns
    return stage.bridge(
        inputs.tokens.to(stage.device),
        attention_mask=inputs.attention.to(stage.device),
        logits_to_keep=columns if isinstance(columns, int) else columns.to(stage.device),
        use_cache=False,
    )


def around_layers(stage: Stage, inputs: Inputs, recording: Recording) -> Float[torch.Tensor, "row kept vocabulary"]:
    """A forward pass with the layers replaced: logits of the wanted columns."""
    with standing_in(stage, recording):
        return logits_of(stage, inputs)


def recorded(stage: Stage, inputs: Inputs) -> Recording:
    """What the model passes to its layers.

    Raises `InputError` where something happens between its layers, which then cannot run one after the other.
    """
    for in_tuple in (False, True):
        recording = Recording(in_tuple=in_tuple)
        try:
            around_layers(stage, inputs, recording)
        except (TypeError, IndexError, AttributeError, RuntimeError) as error:
            if is_out_of_memory(error):
                raise
            continue
        if recording.linked and len(recording.calls) == stage.n_layers:
            return recording
    raise InputError(
        f"stage {stage.name!r}: its architecture does more between layers than hand on their output, so they cannot be "
        f"read from disk one after the other; hold its weights together in memory."
    )


class BatchRun:
    """One batch on its way through the layers of a stage."""

    stage: Stage
    inputs: Inputs
    hidden: torch.Tensor
    calls: list[Call]
    in_tuple: bool

    def __init__(self, stage: Stage, inputs: Inputs) -> None:
        self.stage, self.inputs = stage, inputs
        recording = recorded(stage, inputs)
        assert recording.entering is not None
        self.hidden, self.calls, self.in_tuple = recording.entering, recording.calls, recording.in_tuple

    def advance(self, layer: int) -> None:
        """Run one layer."""
        call = self.calls[layer]
        output = self.stage.bridge.blocks[layer](self.hidden, *call.args, **call.kwargs)
        self.hidden = output[0] if isinstance(output, tuple) else output

    def fork(self) -> "BatchRun":
        """Another run that goes on from here; neither changes the other."""
        return copy.copy(self)

    def logits(self) -> Float[torch.Tensor, "row kept vocabulary"]:
        """Logits of the wanted columns."""
        return around_layers(self.stage, self.inputs, Recording(in_tuple=self.in_tuple, put=self.hidden))


@torch.inference_mode()
def capture_by_layers(stage: Stage, batches: Sequence[Batch], hooks: Sequence[str], keep: Keep, max_bytes: int) -> None:
    """Run batches layer by layer, as many at once as have `max_bytes` of hidden states.

    `keep` gets (number of the batch, hook, activation) as each fires; what runs later may change an activation, so it
    copies what it wants. Raises `LookupError` for a hook that did not fire.
    """
    last = Point(stage.n_layers - 1, "resid_post").hook
    wanted = list(dict.fromkeys((*hooks, last)))
    fired: set[str] = set()

    def on(number: int, name: str, activation: torch.Tensor, hook: Any) -> None:
        fired.add(name)
        if name in hooks:
            keep(number, name, activation)

    width = bytes_a_token(stage, 1)
    for wave in waves(enumerate(batches), lambda each: width * each[1].tokens.numel(), max_bytes):
        runs = [(number, BatchRun(stage, Inputs(batch.tokens, batch.attention))) for number, batch in wave]
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
