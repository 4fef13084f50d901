"""Checkpoints loaded for comparison: a chain of stages, base first; a pair is a chain of two."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch

from mcinterp.alignment import Alignment, align_checkpoints, align_prompts
from mcinterp.checkpoints import CAREFUL, Checkpoint, Trust, parse_chain, tensor_name
from mcinterp.errors import InputError
from mcinterp.placement.loading import Hold, is_device_map, load_bridge, usable_device
from mcinterp.placement.memory import Estimate, estimated
from mcinterp.placement.residency import value_of
from mcinterp.progress import Progress
from mcinterp.prompts import Prompts
from mcinterp.readout import Readout, readout_of
from mcinterp.rendering import RenderedPrompts

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64}
INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
PerStage = str | Sequence[str]

log: logging.Logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stage:
    """One checkpoint of a chain; its weights are read when the bridge is first used.

    `placed` is the device or device map that it is put on, `hold` how its weights are held, `loaded` a bridge that is
    used instead of the checkpoint's own.
    """

    name: str
    checkpoint: Checkpoint
    placed: str
    dtype: torch.dtype
    vocabulary: int
    hold: Hold = field(default_factory=Hold)
    loaded: Any = None

    @cached_property
    def bridge(self) -> Any:
        """The TransformerBridge with its hooks, raw weights, in eval mode.

        Raises `InputError` for weights that cannot be read.
        """
        if self.loaded is not None:
            return self.loaded
        with torch.inference_mode(False):
            return load_bridge(self.checkpoint, self.placed, self.dtype, self.hold)

    @cached_property
    def readout(self) -> Readout:
        """The final norm and unembedding, cut to the chain's common vocabulary."""
        with torch.inference_mode(False):
            return readout_of(self.bridge, self.vocabulary)

    @cached_property
    def device(self) -> str:
        """The device of the embeddings, where tokens enter."""
        return str(self.bridge.cfg.device) if is_device_map(self.placed) else self.placed

    def with_bridge(self, bridge: Any, readout: Readout | None = None) -> "Stage":
        """The stage with another bridge in the place of its own, read out as before unless a readout is given."""
        changed = replace(self, loaded=bridge)
        changed.__dict__["readout"] = readout or self.readout
        return changed

    @property
    def tokenizer(self) -> Any:
        """The tokenizer as it was saved with the checkpoint."""
        return self.checkpoint.tokenizer

    @property
    def n_layers(self) -> int:
        """Number of blocks."""
        return int(self.bridge.cfg.n_layers)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over name, shape, dtype, sum of bits and first row of every weight: one checkpoint as loaded."""
        digest = hashlib.sha256()
        model = self.bridge.original_model
        for name, parameter in sorted(model.named_parameters(), key=lambda item: item[0]):
            weight = value_of(parameter)
            bits = weight.detach().contiguous().view(INTEGERS[weight.element_size()])
            digest.update(f"{tensor_name(name)} {tuple(weight.shape)} {weight.dtype} {int(bits.sum())}".encode())
            digest.update(bits.reshape(-1, bits.shape[-1])[0].cpu().numpy().tobytes())
        return digest.hexdigest()

    @property
    def end_tokens(self) -> frozenset[int]:
        """Ids that end a text: those of the generation settings and the tokenizer's own."""
        listed = getattr(self.bridge.original_model.generation_config, "eos_token_id", None)
        ids = listed if isinstance(listed, list) else [listed]
        return frozenset(int(i) for i in (*ids, self.tokenizer.eos_token_id) if i is not None)


@dataclass(frozen=True)
class Chain:
    """Aligned stages, base first; `estimate` says how their weights are held, and why."""

    stages: tuple[Stage, ...]
    alignment: Alignment
    estimate: Estimate | None = None

    @property
    def base(self) -> Stage:
        """The first stage."""
        return self.stages[0]

    @property
    def tuned(self) -> Stage:
        """The last stage."""
        return self.stages[-1]

    @property
    def hold(self) -> Hold:
        """How the weights of its stages are held."""
        return self.base.hold

    @property
    def names(self) -> tuple[str, ...]:
        """The stages' names, in order."""
        return tuple(stage.name for stage in self.stages)

    def stage(self, name: str) -> Stage:
        """A stage by its name; `InputError` for an unknown one."""
        if name not in self.names:
            raise InputError(f"no stage is named {name!r}; give one of {', '.join(self.names)}.")
        return self.stages[self.names.index(name)]

    def require_two(self) -> None:
        """Refuse a chain of one stage (`InputError`), which leaves nothing to compare."""
        if len(self.stages) < 2:
            raise InputError("got a chain of one stage, which leaves nothing to compare; give a base and a tuned one.")

    @property
    def chat_template(self) -> str | None:
        """The template that prompts are rendered with: the last stage's that has one."""
        templates = [stage.tokenizer.chat_template for stage in self.stages if stage.tokenizer.chat_template]
        return templates[-1] if templates else None

    def render(self, prompts: Prompts, rendering: str = "raw") -> RenderedPrompts:
        """The tokens of every prompt, the same under every stage's tokenizer.

        Raises `AlignmentError` where two tokenizers differ on a prompt, `InputError` where a prompt exceeds the
        context.
        """
        return self.align(prompts, rendering)[0]

    def align(self, prompts: Prompts, rendering: str = "raw") -> tuple[RenderedPrompts, Alignment]:
        """The rendered prompts, and the alignment report with their token ids in it."""
        each = [prompts.render(stage.tokenizer, rendering, self.chat_template) for stage in self.stages]
        alignment = align_prompts(self.alignment, each).require()
        return each[0].within(alignment.context), alignment


def load_pair(base: str, tuned: str, **options: Any) -> Chain:
    """Load a base checkpoint and its tuned one; options and errors are those of `load_chain`."""
    return load_chain([base, tuned], **options)


def load_chain(
    stages: str | Sequence[str] | Mapping[str, str],
    *,
    device: PerStage = "cpu",
    dtype: PerStage = "auto",
    names: Sequence[str] | None = None,
    placement: str = "auto",
    memory: float | None = None,
    store: str = "auto",
    trust: Trust = CAREFUL,
    lazy: bool = False,
) -> Chain:
    """Load checkpoints in order (base, SFT, DPO, RL, ...) and prove that they can be compared.

    `stages` are hub ids (`org/name@revision`), directories, adapters (`BASE+ADAPTER`), `pocket:NAME` or
    `catalogue:NAME/STAGE`, a mapping from stage names to these, or an entry of the catalogue (`catalogue:NAME`), which
    stands for its base and all its stages. `device` and `dtype` are one value, or one a stage; a device may be one of
    accelerate's device maps (`auto`, `balanced`, or a JSON file). The dtype `auto` is float32 on CPU and the stored one
    elsewhere. `placement` says how weights are held (see `mcinterp.placement.memory`): all stages `together` in memory,
    `one` at a time, or layer by layer (`stream`); `auto` takes the first that fits, in at most `memory` GB where that
    is given. Activations that wait on disk for other stages are kept as they are, or in the dtype `store`. `trust` says
    whether pickled weights are read and code of the checkpoints is run. With `lazy`, weights are read when they are
    first used.

    Raises `AlignmentError` where shapes or vocabularies differ (before any weight is read), `InputError` for a
    checkpoint that cannot be found or read.
    """
    if isinstance(stages, Mapping):
        stages, names = list(stages.values()), list(stages)
    given = [stages] if isinstance(stages, str) else list(stages)
    checkpoints = parse_chain(given, list(names) if names is not None else None, trust=trust)
    for line in dict.fromkeys(f"catalogue:{c.entry}: {note}" for c in checkpoints for note in c.notes):
        log.info("%s", line, extra={"told": True})
    devices = [usable_device(each) for each in per_stage("device", device, len(checkpoints))]
    dtypes = per_stage("dtype", dtype, len(checkpoints))
    alignment = align_checkpoints(checkpoints).require()
    chosen = [torch_dtype(name, c, placed) for name, c, placed in zip(dtypes, checkpoints, devices, strict=True)]
    estimate = estimated(checkpoints, devices, chosen, placement=placement, memory=memory)
    log.info("%s", estimate, extra={"told": True})
    hold = Hold(estimate.placement, estimate.spare, None if store == "auto" else dtype_named(store))
    opened = zip(checkpoints, devices, chosen, strict=True)
    chain = Chain(
        stages=tuple(Stage(c.name, c, placed, kind, alignment.vocabulary, hold) for c, placed, kind in opened),
        alignment=alignment,
        estimate=estimate,
    )
    for stage in Progress(() if lazy else chain.stages, desc="loading", unit="checkpoint"):
        assert stage.bridge is not None
    return chain


def per_stage(what: str, values: PerStage, count: int) -> list[str]:
    """One value for every stage, or the values given one a stage."""
    listed = [values] * count if isinstance(values, str) else list(values)
    if len(listed) != count:
        raise InputError(f"got {len(listed)} values of {what} for {count} stages; give one, or one a stage.")
    return listed


def torch_dtype(name: str, checkpoint: Checkpoint, device: str) -> torch.dtype:
    """A dtype by name; `auto` is float32 on CPU whatever was stored, and the stored one elsewhere."""
    if name == "auto":
        stored = getattr(checkpoint.config, "dtype", None)
        return torch.float32 if device == "cpu" or stored is None else stored
    return dtype_named(name)


def dtype_named(name: str) -> torch.dtype:
    """A dtype by name."""
    if name not in DTYPES:
        raise InputError(f"dtype {name!r} is unknown; give auto, {', '.join(DTYPES)}.")
    return DTYPES[name]
