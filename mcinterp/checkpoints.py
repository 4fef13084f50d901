"""Names of checkpoints, what is known of one before its weights are read, and the reading of them.

A checkpoint is written as a hub id (`org/name`, `org/name@revision`), a local directory in Hugging Face format, a
PEFT adapter directory (on the base its `adapter_config.json` names, or on one given as `BASE+ADAPTER`), or
`pocket:NAME`, one of the small checkpoints that ship with the library. `NAME=...` before any of these names the stage.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import try_to_load_from_cache
from huggingface_hub.utils import logging as hub_logging
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from mcinterp.errors import InputError, first_line
from mcinterp.organisms import POCKET_STAGES, pocket_path

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?(@[\w./-]+)?")
STAGE_NAME = re.compile(r"(?P<name>[A-Za-z][\w.-]*)=(?P<rest>.+)", re.DOTALL)
ADAPTER_FILE = "adapter_config.json"
UNREADABLE = (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError, SafetensorError)

transformers_logging.disable_progress_bar()
hub_logging.set_verbosity_error()


@dataclass(frozen=True)
class Checkpoint:
    """Where one stage's weights lie: a directory or hub id, a revision of it, and an adapter to merge into it."""

    name: str
    spec: str
    location: str
    revision: str | None = None
    adapter: Path | None = None
    adapter_note: str | None = None

    @property
    def tokenizer_location(self) -> str:
        """The adapter's directory where it brings a tokenizer of its own, else the checkpoint's."""
        if self.adapter is not None and (self.adapter / "tokenizer_config.json").exists():
            return str(self.adapter)
        return self.location

    @cached_property
    def config(self) -> Any:
        """The Hugging Face configuration, read without any weight."""
        with reading(self, "its configuration"):
            config = AutoConfig.from_pretrained(self.location, revision=self.revision)
        if not getattr(config, "architectures", None):
            raise InputError(
                f"checkpoint {self.spec!r} has a config.json without `architectures`; a causal language model is "
                f'wanted: add for example "architectures": ["LlamaForCausalLM"] to it.'
            )
        return config

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer as it was saved: no option of it is changed."""
        revision = self.revision if self.tokenizer_location == self.location else None
        with reading(self, "its tokenizer"):
            return AutoTokenizer.from_pretrained(self.tokenizer_location, revision=revision)

    @cached_property
    def generation_settings(self) -> dict[str, Any]:
        """What the checkpoint ships for sampling, token ids apart; completions here never use it."""
        try:
            shipped = GenerationConfig.from_pretrained(self.location, revision=self.revision or "main").to_diff_dict()
        except OSError:
            return {}
        return {k: v for k, v in shipped.items() if not k.startswith(("_", "transformers_")) and not k.endswith("_id")}

    def load(self, *, device: str, dtype: torch.dtype) -> Any:
        """The checkpoint as a TransformerBridge with raw weights, in eval mode."""
        from transformer_lens.model_bridge import TransformerBridge

        with reading(self, "its weights"):
            bridge = TransformerBridge.boot_transformers(
                self.location,
                device=device,
                dtype=dtype,
                revision=self.revision,
                hf_model=self.merged_model(device, dtype) if self.adapter else None,
            )
        refuse_broken_weights(self, bridge)
        return bridge.eval()

    def merged_model(self, device: str, dtype: torch.dtype) -> torch.nn.Module:
        """The base model with the adapter's update merged into its weights (PEFT `merge_and_unload`)."""
        try:
            from peft import PeftModel
        except ImportError as error:
            raise InputError(
                f"checkpoint {self.spec!r} is a PEFT adapter and the package peft is not installed: "
                f"run `pip install mcinterp[peft]`."
            ) from error
        base = AutoModelForCausalLM.from_pretrained(self.location, revision=self.revision, dtype=dtype)
        return PeftModel.from_pretrained(base, str(self.adapter)).merge_and_unload().to(device)

    @property
    def commit(self) -> str | None:
        """The commit that a hub id and revision stand for in the local cache; nothing for a directory."""
        if Path(self.location).is_dir():
            return None
        cached = try_to_load_from_cache(self.location, "config.json", revision=self.revision)
        return Path(cached).parent.name if isinstance(cached, str) else None

    def provenance(self) -> dict[str, Any]:
        """What identifies the checkpoint: its spec, place, revision and, from a hub, the commit that was read."""
        return {
            "name": self.name,
            "spec": self.spec,
            "location": self.location,
            "revision": self.revision,
            "commit": self.commit,
            "adapter": str(self.adapter) if self.adapter else None,
        }


@contextmanager
def reading(checkpoint: Checkpoint, what: str) -> Iterator[None]:
    """Turn whatever a loader raises over a broken or missing file into one sentence about the checkpoint."""
    try:
        yield
    except InputError:
        raise
    except UNREADABLE as error:
        raise InputError(
            f"checkpoint {checkpoint.spec!r}: {what} cannot be read ({first_line(error)}); "
            f"give a hub id that can be reached or is cached, or a complete directory in Hugging Face format."
        ) from error


def refuse_broken_weights(checkpoint: Checkpoint, bridge: Any) -> None:
    """Refuse NaN or infinite weights, naming the first tensor that holds them."""
    for name, weight in bridge.original_model.named_parameters():
        if weight.is_floating_point() and not torch.isfinite(weight).all():
            raise InputError(
                f"checkpoint {checkpoint.spec!r}: tensor {tensor_name(name)} holds NaN or infinite values and finite "
                f"weights are wanted; save the checkpoint again."
            )


def tensor_name(name: str) -> str:
    """The checkpoint's own name of a parameter, without the wrappers that a bridge puts around modules."""
    return name.replace("._original_component", "")


def parse_checkpoint(spec: str, name: str | None = None) -> Checkpoint:
    """Read a checkpoint's name; nothing is loaded.

    Raises `InputError` for a directory that is not there, an unknown pocket name, or a malformed hub id.
    """
    spec = str(spec)
    named = STAGE_NAME.fullmatch(spec)
    if name is None and named and not Path(spec).expanduser().exists():
        return parse_checkpoint(named["rest"], named["name"])
    checkpoint = locate_checkpoint(spec)
    return replace(checkpoint, name=name) if name else checkpoint


def locate_checkpoint(spec: str) -> Checkpoint:
    """The checkpoint that a spec without a stage name stands for."""
    path = Path(spec).expanduser()
    if spec.startswith("pocket:") and "+" not in spec:
        return pocket_checkpoint(spec)
    if spec and path.is_dir():
        if (path / ADAPTER_FILE).exists():
            return adapter_checkpoint(spec, path, base=None)
        return Checkpoint(name=path.resolve().name, spec=spec, location=str(path))
    if "+" in spec:
        base, adapter = spec.rsplit("+", 1)
        return adapter_checkpoint(spec, Path(adapter).expanduser(), base=locate_checkpoint(base))
    if HUB_ID.fullmatch(spec) and not spec.startswith((".", "~", "/")):
        location, _, revision = spec.partition("@")
        return Checkpoint(name=location.split("/")[-1], spec=spec, location=location, revision=revision or None)
    raise InputError(
        f"checkpoint {spec!r} is neither a directory that exists nor a hub id; give org/name, org/name@revision, a "
        f"directory in Hugging Face format, BASE+ADAPTER, or one of {pocket_names()}."
    )


def pocket_names() -> str:
    """The shipped checkpoints, as they are asked for."""
    return ", ".join(f"pocket:{name}" for name in POCKET_STAGES)


def pocket_checkpoint(spec: str) -> Checkpoint:
    """One of the checkpoints that ship with the library."""
    name = spec.removeprefix("pocket:")
    if name not in POCKET_STAGES:
        raise InputError(f"checkpoint {spec!r} does not ship with the library; give one of {pocket_names()}.")
    return Checkpoint(name=name, spec=spec, location=str(pocket_path(name)))


def adapter_checkpoint(spec: str, adapter: Path, base: Checkpoint | None) -> Checkpoint:
    """A PEFT adapter on the given base, or on the one its own configuration names."""
    file = adapter / ADAPTER_FILE
    if not file.exists():
        raise InputError(f"adapter {str(adapter)!r} has no {ADAPTER_FILE}; give a directory saved by PEFT.")
    if base is None:
        base = declared_base(spec, file)
    return replace(base, name=adapter.resolve().name, spec=spec, adapter=adapter)


def declared_base(spec: str, file: Path) -> Checkpoint:
    """The base checkpoint that an adapter's configuration names."""
    try:
        declared = json.loads(file.read_text(encoding="utf-8")).get("base_model_name_or_path")
    except json.JSONDecodeError as error:
        raise InputError(
            f"adapter {spec!r}: {ADAPTER_FILE} is not JSON ({first_line(error)}); save it again."
        ) from error
    try:
        return locate_checkpoint(declared or "")
    except InputError as error:
        raise InputError(
            f"adapter {spec!r} names {declared!r} as its base, which is not here; give the base as BASE+{spec}."
        ) from error


def parse_chain(specs: list[str], names: list[str] | None = None) -> list[Checkpoint]:
    """The checkpoints of a chain, in order, under distinct stage names (a repeated one is numbered)."""
    if len(specs) < 2:
        raise InputError(f"a comparison wants at least two checkpoints, base first; got {len(specs)}.")
    if names is not None and len(names) != len(specs):
        raise InputError(f"got {len(names)} stage names for {len(specs)} checkpoints; give one name each.")
    parsed = [parse_checkpoint(spec, names[i] if names else None) for i, spec in enumerate(specs)]
    if any(checkpoint.name == "difference" for checkpoint in parsed):
        raise InputError("a stage is named 'difference', which stands for tuned minus base; give it another name.")
    taken: dict[str, int] = {}
    distinct = []
    for checkpoint in parsed:
        taken[checkpoint.name] = taken.get(checkpoint.name, 0) + 1
        count = taken[checkpoint.name]
        distinct.append(replace(checkpoint, name=f"{checkpoint.name}-{count}") if count > 1 else checkpoint)
    return distinct
