"""Tiny random models under the real hub ids of an entry, in a local cache of the hub, with its family's quirks."""

from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from conftest import LETTERS
from mcinterp.catalogue import Entry, Published

SIZES = {
    "num_hidden_layers": 4, "hidden_size": 32, "intermediate_size": 40, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8,
}  # fmt: skip
WINDOW, PADDING = 8, 5
BYTES = {" ": "Ġ", "\n": "Ċ"}
"""How the tokenizer that transformers takes for every Qwen2 model, whatever was saved, spells these characters."""


@dataclass(frozen=True)
class Quirks:
    """What a family's tokenizers do: special tokens, which of them is put before raw text, and which end a text."""

    specials: tuple[str, ...]
    bos: str | None
    put: bool
    ends: tuple[str, str]


CHATML = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
QUIRKS = {
    "pythia": Quirks(("<|endoftext|>",), "<|endoftext|>", False, ("<|endoftext|>", "<|endoftext|>")),
    "smollm2": Quirks(CHATML, "<|endoftext|>", False, ("<|endoftext|>", "<|im_end|>")),
    "gemma3": Quirks(
        ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"), "<bos>", True, ("<eos>", "<end_of_turn>")
    ),
    "qwen2.5": Quirks(CHATML, None, False, ("<|endoftext|>", "<|im_end|>")),
    "qwen3": Quirks(CHATML, None, False, ("<|endoftext|>", "<|im_end|>")),
    "llama3": Quirks(
        ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        "<|begin_of_text|>", True, ("<|end_of_text|>", "<|eot_id|>"),
    ),
    "tulu3": Quirks(
        ("<|begin_of_text|>", "<|end_of_text|>"), "<|begin_of_text|>", True, ("<|end_of_text|>", "<|end_of_text|>")
    ),
    "olmo2": Quirks(("<|endoftext|>",), "<|endoftext|>", False, ("<|endoftext|>", "<|endoftext|>")),
    "olmo3": Quirks(CHATML, "<|endoftext|>", False, ("<|endoftext|>", "<|im_end|>")),
    "zephyr": Quirks(("<s>", "</s>"), "<s>", True, ("</s>", "</s>")),
}  # fmt: skip


def plant(each: Entry, cache: Path) -> None:
    """Put a tiny model of every stage into a hub cache, tuned ones near the base."""
    weights: dict[str, torch.Tensor] | None = None
    for number, stage in enumerate(each.stages):
        root = cache / f"models--{stage.hub.replace('/', '--')}"
        folder = root / "snapshots" / f"{number + 1:x}".rjust(40, "a")
        folder.mkdir(parents=True)
        (root / "refs").mkdir()
        (root / "refs" / "main").write_text(folder.name)
        weights = save(each, stage, number, folder, weights)


def save(
    each: Entry, stage: Published, number: int, folder: Path, base: dict[str, torch.Tensor] | None
) -> dict[str, torch.Tensor]:
    """Save one stage's model and tokenizer; the base's weights."""
    made = tokenizer(each, stage, number)
    model = tiny(each, stage, made, number)
    if base is not None:
        near(model, base)
    pickled = number > 0 and any(trap.kind == "files" and "--allow-pickle" in trap.says for trap in each.traps)
    kept = {name: weight.detach().clone().float() for name, weight in model.named_parameters()}
    model = model.to(getattr(torch, stage.dtype or "float32"))
    model.save_pretrained(folder)
    if pickled:
        (folder / "model.safetensors").unlink()
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
    made.save_pretrained(folder)
    return base or kept


def rows_of(each: Entry, stage: Published, made: PreTrainedTokenizerFast) -> int:
    """Rows of a stage's unembedding: more than tokens where the entry says so, and as many more as it says."""
    more = stage.vocabulary - each.shape.vocabulary
    tokens = len(made) - (1 if more else 0)
    return tokens + more + (PADDING if each.family in ("pythia", "qwen2.5", "qwen3", "olmo2") else 0)


def tiny(each: Entry, stage: Published, made: PreTrainedTokenizerFast, seed: int) -> torch.nn.Module:
    """A random model of the entry's architecture with everything of its configuration but the sizes."""
    torch.manual_seed(seed)
    given = each.configuration(stage)
    given |= {name: size for name, size in SIZES.items() if name in given}
    given |= {"vocab_size": rows_of(each, stage, made), "pad_token_id": None}
    if "sliding_window" in given:
        given["sliding_window"] = WINDOW
    ends = made.eos_token_id
    config = AutoConfig.for_model(
        given.pop("model_type"), **{**given, "bos_token_id": made.bos_token_id, "eos_token_id": ends}
    )
    model = AutoModelForCausalLM.from_config(config).float()
    with torch.no_grad():
        for weight in model.parameters():
            weight += torch.randn_like(weight) * 0.2
    return model


def near(model: torch.nn.Module, base: dict[str, torch.Tensor]) -> None:
    """Move a model to the base's weights and a little away from them; rows that only it has stay its own."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            part = weight[: len(base[name])]
            part.copy_(base[name] + torch.randn_like(part) * 0.08)


def tokenizer(each: Entry, stage: Published, number: int) -> PreTrainedTokenizerFast:
    """A tokenizer of one token a character with the family's special tokens and rules, and its chat template."""
    quirks = QUIRKS[each.family]
    characters = [*quirks.specials, *LETTERS, "<", "|", '"', "{", "}", "’"]
    spelt = BYTES if each.family == "qwen2.5" else {}
    table = {spelt.get(token, token): index for index, token in enumerate(characters)}
    if stage.vocabulary > each.shape.vocabulary:
        table["<pad>"] = len(table)
    raw = Tokenizer(models.WordLevel(table, unk_token="?"))
    raw.pre_tokenizer = pre_tokenizers.Split(Regex("[\\s\\S]"), "isolated")
    raw.decoder = decoders.Fuse()
    if quirks.put:
        raw.post_processor = TemplateProcessing(
            single=f"{quirks.bos} $A", special_tokens=[(quirks.bos, table[str(quirks.bos)])]
        )
    made = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        bos_token=quirks.bos,
        eos_token=quirks.ends[min(number, 1)],
        unk_token="?",
        extra_special_tokens=list(quirks.specials),
        **({"pad_token": "<pad>"} if "<pad>" in table else {}),
    )
    if stage.templated and each.template is not None:
        made.chat_template = jinja(each.template.rendered)
    return made


def jinja(rendered: str) -> str:
    """The chat template that renders one message as an entry says."""
    before, after = rendered.split("{message}")
    parts = [f"{{{{ {text!r} }}}}" for text in before.split("{date}")]
    return '{{ strftime_now("%d %b %Y") }}'.join(parts) + f"{{{{ messages[0]['content'] }}}}{{{{ {after!r} }}}}"
