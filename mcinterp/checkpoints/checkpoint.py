"""One checkpoint: where it lies, its configuration and tokenizer, and its model."""

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import try_to_load_from_cache
from transformers import AutoConfig, AutoTokenizer, GenerationConfig, PreTrainedTokenizerBase
from transformers.utils.hub import cached_file

from mcinterp.checkpoints.configuration import require_language_model, require_object
from mcinterp.checkpoints.hub import go_offline_if_unreachable
from mcinterp.checkpoints.models import merged_model, model_without_weights, read_model, reader_of, require_weights
from mcinterp.checkpoints.proofs import refuse_broken_weights, refuse_what_cannot_run
from mcinterp.checkpoints.reading import installed, reading
from mcinterp.checkpoints.tokens import require_token_ids, require_tokens
from mcinterp.checkpoints.trust import CAREFUL, Trust

GENERATION = "generation_config.json"


def sampling_settings(settings: GenerationConfig) -> dict[str, Any]:
    """What generation settings change of the defaults, token ids and versions apart."""
    changed = settings.to_diff_dict()
    return {k: v for k, v in changed.items() if not k.startswith(("_", "transformers_")) and not k.endswith("_id")}


@dataclass(frozen=True)
class Checkpoint:
    """Where one stage's weights lie: a directory or hub id, a revision of it, and an adapter to merge into it.

    `trust` says whether pickled weights are read and the checkpoint's own code is run; neither is by default. `entry`
    names the catalogue's entry that it was asked for by, `notes` what the catalogue tells of that.
    """

    name: str
    spec: str
    location: str
    revision: str | None = None
    adapter: Path | None = None
    trust: Trust = CAREFUL
    entry: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def quantised(self) -> bool:
        """Whether the weights were saved quantised."""
        return getattr(self.config, "quantization_config", None) is not None

    @property
    def source(self) -> dict[str, Any]:
        """What every reader of transformers is told beside the location."""
        return {"revision": self.revision, "trust_remote_code": self.trust.remote_code}

    @property
    def tokenizer_location(self) -> str:
        """The adapter's directory where it brings a tokenizer of its own, else the checkpoint's."""
        if self.adapter is not None and (self.adapter / "tokenizer_config.json").exists():
            return str(self.adapter)
        return self.location

    @cached_property
    def config(self) -> Any:
        """The Hugging Face configuration of a causal language model, read without any weight."""
        with reading(self, "its configuration"), installed(self):
            if not Path(self.location).is_dir():
                go_offline_if_unreachable()
            require_object(self)
            config = AutoConfig.from_pretrained(self.location, attn_implementation="eager", **self.source)
        require_language_model(self, config)
        return config

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer as it was saved: no option of it is changed."""
        own = self.tokenizer_location == self.location
        with reading(self, "its tokenizer"), installed(self):
            tokenizer = AutoTokenizer.from_pretrained(
                self.tokenizer_location, **{**self.source, "revision": self.revision if own else None}
            )
            require_tokens(tokenizer)
        return tokenizer

    @cached_property
    def generation_settings(self) -> dict[str, Any]:
        """What the checkpoint ships for sampling, token ids apart; completions here never use it."""
        with reading(self, "its generation settings"):
            if self.file(GENERATION) is None:
                return {}
            settings = GenerationConfig.from_pretrained(self.location, revision=self.revision or "main")
            require_token_ids(settings.eos_token_id)
            return sampling_settings(settings)

    def file(self, name: str) -> Path | None:
        """Where a file of the checkpoint lies on this machine, from the hub if need be; None where it has none."""
        if Path(self.location).is_dir():
            there = Path(self.location) / name
            return there if there.is_file() else None
        found = cached_file(self.location, name, revision=self.revision, _raise_exceptions_for_missing_entries=False)
        return None if found is None else Path(found)

    def require_weights(self) -> None:
        """Refuse local weight files that are missing, broken, pickled, or far smaller than the configuration says."""
        require_weights(self)

    def load(self, *, device: str, dtype: torch.dtype) -> Any:
        """The checkpoint as a TransformerBridge with raw weights, in eval mode; its weights are finite, and it runs."""
        with reading(self, "its weights"), installed(self):
            model = self.merged_model(device, dtype) if self.adapter else None
            bridge = self.boot(device=device, dtype=dtype, hf_model=model)
        refuse_broken_weights(self, bridge)
        refuse_what_cannot_run(self, bridge, device)
        return bridge

    def boot(self, **options: Any) -> Any:
        """The checkpoint as a TransformerBridge in eval mode, with every tensor read from its files.

        `options` go to `boot_transformers`: device or device map, dtype, a model that is there already.
        """
        from transformer_lens.model_bridge import TransformerBridge

        with reading(self, "its weights"):
            return TransformerBridge.boot_transformers(
                self.place, **self.source, model_class=reader_of(self), **options
            ).eval()

    def read_model(self, **options: Any) -> Any:
        """The model by transformers alone, without its adapter, with every tensor read from its files."""
        return read_model(self, **options)

    @property
    def place(self) -> str:
        """The location with a directory's whole path, which no short name of a model can be taken for."""
        path = Path(self.location)
        return str(path.absolute()) if path.is_dir() else self.location

    def model_without_weights(self) -> torch.nn.Module:
        """The model with shapes alone; errors are those of `require_weights`."""
        return model_without_weights(self)

    def merged_model(self, device: str, dtype: torch.dtype) -> torch.nn.Module:
        """The base model with the adapter's update merged into its weights (PEFT `merge_and_unload`)."""
        return merged_model(self, device, dtype)

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
            "trust": asdict(self.trust),
            **({"catalogue": self.entry, "notes": list(self.notes)} if self.entry else {}),
        }
