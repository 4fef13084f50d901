"""Tiny checkpoints of several architectures in real Hugging Face format, made anew for every test session."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from mcinterp.chain import Chain, load_chain, load_pair
from mcinterp.organisms import POCKET_STAGES

torch.set_num_threads(1)  # tensors here are tiny: threads cost more than they give

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,:;!?'\n>()[]-_=+*/#"
CHARACTERS = ["<bos>", "<end>", *LETTERS]
VOCABULARY = len(CHARACTERS)
CHAT_TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
WIDE = {
    "vocab_size": VOCABULARY, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 3,
    "num_attention_heads": 4, "max_position_embeddings": 64,
}  # fmt: skip
GROUPED = {**WIDE, "num_key_value_heads": 2}
CAPPED = {"final_logit_softcapping": 2.0, "attn_logit_softcapping": 5.0, "sliding_window": 8}
SHAPES = {
    "llama": {**GROUPED, "head_dim": 6},
    "gpt2": {"vocab_size": VOCABULARY, "n_embd": 24, "n_layer": 3, "n_head": 4, "n_positions": 64},
    "qwen2": GROUPED,
    "gemma2": {**GROUPED, "head_dim": 6, "query_pre_attn_scalar": 6, **CAPPED},
    "olmo2": GROUPED,
    "gpt_neox": {**WIDE, "rotary_pct": 0.5},
    "granite": {**GROUPED, "logits_scaling": 3.0, "residual_multiplier": 0.5},
    "cohere": {**GROUPED, "logit_scale": 0.25},
}
EXPERTS = {"mixtral": {**GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2}}

Build = Callable[..., Path]


def tokenizer(characters: list[str] = CHARACTERS, *, chat: bool = False) -> PreTrainedTokenizerFast:
    """A tokenizer of one token a character, with named special tokens."""
    table = {character: index for index, character in enumerate(characters)}
    raw = Tokenizer(models.WordLevel(table, unk_token="?"))
    raw.pre_tokenizer = pre_tokenizers.Split(Regex("<bos>|<end>|[\\s\\S]"), "isolated")
    raw.decoder = decoders.Fuse()
    made = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<bos>", eos_token="<end>", unk_token="?")
    if chat:
        made.chat_template = CHAT_TEMPLATE
    return made


def save_checkpoint(
    folder: Path, architecture: str, *, seed: int, noise_of: Path | None = None, chat: bool = False, **changes: object
) -> Path:
    """A random checkpoint, or another one's weights with a little noise."""
    torch.manual_seed(seed)
    config = AutoConfig.for_model(
        architecture, **{**(SHAPES | EXPERTS)[architecture], **changes}, bos_token_id=0, eos_token_id=1, pad_token_id=1
    )
    model = AutoModelForCausalLM.from_config(config)
    if noise_of is not None:
        model.load_state_dict(AutoModelForCausalLM.from_pretrained(noise_of).state_dict())
    with torch.no_grad():
        for weight in model.parameters():
            weight += torch.randn_like(weight) * (0.08 if noise_of else 0.2)
    model.save_pretrained(folder)
    tokenizer(chat=chat).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """`tiny("llama")` is a base checkpoint's directory, `tiny("llama", "tuned")` that of one tuned from it."""
    root, made = tmp_path_factory.mktemp("tiny"), {}

    def build(architecture: str, stage: str = "base") -> Path:
        key = (architecture, stage)
        if key not in made:
            parent = None if stage == "base" else build(architecture)
            seed = {"base": 0, "tuned": 1, "later": 2}[stage]
            folder = root / f"{architecture}-{stage}"
            made[key] = save_checkpoint(folder, architecture, seed=seed, noise_of=parent, chat=stage != "base")
        return made[key]

    return build


@pytest.fixture(scope="session")
def pair(tiny: Build) -> Chain:
    """A tiny Llama pair."""
    return load_pair(str(tiny("llama")), str(tiny("llama", "tuned")), names=["base", "tuned"])


@pytest.fixture(scope="session")
def chain(tiny: Build) -> Chain:
    """A tiny Llama chain of three stages."""
    return load_chain({stage: str(tiny("llama", stage)) for stage in ("base", "tuned", "later")})


@pytest.fixture(scope="session")
def identical(tiny: Build) -> Chain:
    """A checkpoint compared with itself."""
    return load_pair(str(tiny("llama")), str(tiny("llama")))


@pytest.fixture(scope="session")
def pocket() -> Chain:
    """The whole shipped pocket chain."""
    return load_chain([f"pocket:{name}" for name in POCKET_STAGES])


@pytest.fixture(scope="session")
def real() -> Path:
    """A folder of real checkpoints named by MCINTERP_REAL; tests that need one are skipped without it."""
    folder = os.environ.get("MCINTERP_REAL")
    if not folder:
        pytest.skip("MCINTERP_REAL names no folder of real checkpoints")
    return Path(folder)
