"""Checkpoints loaded for comparison: a chain of stages, base first; a pair is a chain of two."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from tqdm import tqdm

from mcinterp.alignment import Alignment, align_checkpoints, align_prompts
from mcinterp.checkpoints import Checkpoint, parse_chain, tensor_name
from mcinterp.errors import InputError
from mcinterp.prompts import Prompts
from mcinterp.readout import Readout, readout_of
from mcinterp.rendering import RenderedPrompts

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64}
INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
PerStage = str | Sequence[str]


@dataclass(frozen=True)
class Stage:
    """One loaded checkpoint: the bridge with its hooks, its own tokenizer, and its readout."""

    name: str
    checkpoint: Checkpoint
    bridge: Any
    readout: Readout
    device: str
    dtype: torch.dtype

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
        for name, weight in sorted(self.bridge.original_model.named_parameters()):
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
    """Aligned stages, base first. `base` is the first of them, `tuned` the last."""

    stages: tuple[Stage, ...]
    alignment: Alignment

    @property
    def base(self) -> Stage:
        """The first stage."""
        return self.stages[0]

    @property
    def tuned(self) -> Stage:
        """The last stage."""
        return self.stages[-1]

    @property
    def names(self) -> tuple[str, ...]:
        """The stages' names, in order."""
        return tuple(stage.name for stage in self.stages)

    def stage(self, name: str) -> Stage:
        """A stage by its name; `InputError` for an unknown one."""
        if name not in self.names:
            raise InputError(f"no stage is named {name!r}; give one of {', '.join(self.names)}.")
        return self.stages[self.names.index(name)]

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


def load_pair(
    base: str, tuned: str, *, device: PerStage = "cpu", dtype: PerStage = "auto", names: Sequence[str] | None = None
) -> Chain:
    """Load a base checkpoint and its tuned one; see `load_chain`."""
    return load_chain([base, tuned], device=device, dtype=dtype, names=names)


def load_chain(
    stages: Sequence[str] | Mapping[str, str],
    *,
    device: PerStage = "cpu",
    dtype: PerStage = "auto",
    names: Sequence[str] | None = None,
) -> Chain:
    """Load checkpoints in order (base, SFT, DPO, RL, ...) and prove that they can be compared.

    `stages` are hub ids (`org/name@revision`), directories, adapters (`BASE+ADAPTER`) or `pocket:NAME`, or a mapping
    from stage names to these. `device` and `dtype` are one value, or one a stage. The dtype `auto` is float32 on CPU
    and the stored one elsewhere.

    Raises `AlignmentError` where shapes or vocabularies differ (before any weight is read), `InputError` for a
    checkpoint that cannot be found or read.
    """
    if isinstance(stages, Mapping):
        stages, names = list(stages.values()), list(stages)
    checkpoints = parse_chain(list(stages), list(names) if names is not None else None)
    devices = per_stage("device", device, len(checkpoints))
    dtypes = per_stage("dtype", dtype, len(checkpoints))
    alignment = align_checkpoints(checkpoints).require()
    loaded = tqdm(checkpoints, desc="loading", unit="checkpoint", delay=2, disable=None)
    return Chain(
        stages=tuple(load_stage(*each, alignment.vocabulary) for each in zip(loaded, devices, dtypes, strict=True)),
        alignment=alignment,
    )


def per_stage(what: str, values: PerStage, count: int) -> list[str]:
    """One value for every stage, or the values given one a stage."""
    listed = [values] * count if isinstance(values, str) else list(values)
    if len(listed) != count:
        raise InputError(f"got {len(listed)} values of {what} for {count} stages; give one, or one a stage.")
    return listed


def load_stage(checkpoint: Checkpoint, device: str, dtype: str, vocabulary: int) -> Stage:
    """Read one checkpoint's weights."""
    chosen = torch_dtype(dtype, checkpoint, usable_device(device))
    bridge = checkpoint.load(device=device, dtype=chosen)
    readout = readout_of(bridge, vocabulary)
    return Stage(checkpoint.name, checkpoint, bridge, readout, device, chosen)


def usable_device(device: str) -> str:
    """The device, or an `InputError` where this machine has none of that name."""
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(
            f"device {device!r} cannot be used on this machine; give cpu, or a device that is there."
        ) from error
    return device


def torch_dtype(name: str, checkpoint: Checkpoint, device: str) -> torch.dtype:
    """A dtype by name; `auto` is float32 on CPU whatever was stored, and the stored one elsewhere."""
    if name == "auto":
        stored = getattr(checkpoint.config, "dtype", None)
        return torch.float32 if device == "cpu" or stored is None else stored
    if name not in DTYPES:
        raise InputError(f"dtype {name!r} is unknown; give auto, {', '.join(DTYPES)}.")
    return DTYPES[name]
