"""A pocket checkpoint in memory: weights, tokenizer and the grammar over its token ids."""

import json
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from mcinterp.organisms.genres import pocket_grammar
from mcinterp.organisms.grammar import Grammar
from mcinterp.organisms.tokenizer import END_ID

MACHINE_SETTINGS = frozenset({"is_local", "local_files_only", "backend"})
"""Settings that the library writes about where a tokenizer was loaded, and not about itself."""


def grammar_of(tokenizer: PreTrainedTokenizerFast) -> Grammar:
    """The pocket grammar over the ids of ``tokenizer``."""

    def encode(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    return pocket_grammar(encode, END_ID)


@dataclass(frozen=True)
class Pocket:
    """A model with the tokenizer and the grammar that it belongs to."""

    model: LlamaForCausalLM
    tokenizer: PreTrainedTokenizerFast
    grammar: Grammar

    def given(self, text: str) -> list[int]:
        """Token ids of a prompt, the beginning-of-text token first."""
        return [END_ID, *self.grammar.encode(text)]

    def text(self, ids: Sequence[int]) -> str:
        """The text of token ids, without special tokens."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def with_model(self, model: LlamaForCausalLM) -> "Pocket":
        """The same tokenizer and grammar around another model."""
        return replace(self, model=model)


def load(folder: Path) -> Pocket:
    """A saved checkpoint, in float32."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return Pocket(model.eval(), tokenizer, grammar_of(tokenizer))


def save_checkpoint(pocket: Pocket, folder: Path) -> None:
    """Write float16 weights, configuration and tokenizer as a Hugging Face checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    deepcopy(pocket.model).half().save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    pocket.tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    kept = {key: value for key, value in settings.items() if key not in MACHINE_SETTINGS}
    path.write_text(json.dumps(kept | {"tokenizer_class": "PreTrainedTokenizerFast"}, indent=2) + "\n")


def next_token_logits(model: LlamaForCausalLM, ids: torch.Tensor) -> torch.Tensor:
    """Logits [document, position, token] in float32; no padding on the left."""
    return model(input_ids=ids, use_cache=False).logits.float()
