"""A checkpoint that has no files: what a chain asks of one, answered by a model in memory."""

import copy
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import torch
from transformers import PreTrainedTokenizerBase

from mcinterp.checkpoints import Checkpoint, reading
from mcinterp.checkpoints.checkpoint import sampling_settings
from mcinterp.checkpoints.configuration import require_language_model
from mcinterp.checkpoints.tokens import require_token_ids, require_tokens
from mcinterp.errors import InputError
from mcinterp.readout import text_config

PLACE = "memory:"


@dataclass(frozen=True)
class InMemory(Checkpoint):
    """A model and its tokenizer in the place of a checkpoint's files; `revision` is a digest of its weights.

    It has a configuration, a tokenizer and generation settings like any checkpoint. What reads files is refused.
    """

    model: Any = field(default=None, compare=False, repr=False)
    given_tokenizer: Any = field(default=None, compare=False, repr=False)

    @cached_property
    def config(self) -> Any:
        """A copy of the model's configuration, which names the model's class as its architecture."""
        config = copy.deepcopy(self.model.config)
        config.architectures = [type(self.model).__name__]
        require_language_model(self, config)
        return config

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer that was given, unchanged."""
        given = self.given_tokenizer
        if not isinstance(given, PreTrainedTokenizerBase):
            raise InputError(
                f"stage {self.name!r} has a {type(given).__name__} as its tokenizer and one of transformers is wanted; "
                f"give tokenizer=AutoTokenizer.from_pretrained(...)."
            )
        with reading(self, "its tokenizer", "used"):
            require_tokens(given)
        rows = int(text_config(self.config).vocab_size)
        if given.vocab_size > rows:
            raise InputError(
                f"stage {self.name!r} has a tokenizer of {given.vocab_size} tokens and embeddings of {rows}, so it is "
                f"another model's; give the tokenizer that the model was trained with."
            )
        return given

    @cached_property
    def generation_settings(self) -> dict[str, Any]:
        """What the model brings for sampling, token ids apart; completions here never use it."""
        settings = getattr(self.model, "generation_config", None)
        if settings is None:
            return {}
        with reading(self, "its generation settings", "used"):
            require_token_ids(settings.eos_token_id)
        return sampling_settings(settings)

    @property
    def commit(self) -> None:
        """Nothing: no hub was asked."""
        return None

    def require_weights(self) -> None:
        """Refuse weights that have no values; that a model in memory is whole is up to whoever made it."""
        if any(parameter.is_meta for parameter in self.model.parameters()):
            raise InputError(f"stage {self.name!r} has weights without values (on meta); load them first.")

    def file(self, name: str) -> Path | None:
        """None: there are no files."""
        return None

    def without_files(self) -> NoReturn:
        """Refuse what reads a checkpoint's files."""
        raise InputError(
            f"stage {self.name!r} is a model in memory and this reads a checkpoint's files; save it and its "
            f"tokenizer by save_pretrained, and give the folder to load_chain."
        )

    def load(self, *, device: str, dtype: torch.dtype) -> NoReturn:
        """Refused; see `without_files`."""
        self.without_files()

    def boot(self, **options: Any) -> NoReturn:
        """Refused; see `without_files`."""
        self.without_files()

    def read_model(self, **options: Any) -> NoReturn:
        """Refused; see `without_files`."""
        self.without_files()

    def model_without_weights(self) -> NoReturn:
        """Refused; see `without_files`."""
        self.without_files()

    def merged_model(self, device: str, dtype: torch.dtype) -> NoReturn:
        """Refused; see `without_files`."""
        self.without_files()
