"""Configurations that are wrong: one sentence that says what is, before any weight is read."""

import os
from pathlib import Path

import pytest
from hostile_files import copied, edit_json, loaded, refusal, refused, sharded
from transformers import AutoConfig, CTRLConfig, CTRLLMHeadModel

from conftest import VOCABULARY, Build, tokenizer
from mcinterp.chain import load_pair
from mcinterp.checkpoints import parse_checkpoint
from mcinterp.checkpoints.configuration import require_language_model

UP, GATE = "model.layers.0.mlp.up_proj.weight", "model.layers.0.mlp.gate_proj.weight"


@pytest.fixture
def copy(tiny: Build, tmp_path: Path) -> Path:
    """A copy of the tiny Llama, to break."""
    return copied(tiny("llama"), tmp_path / "broken")


def test_what_the_cases_are_made_from_loads(tiny: Build, copy: Path) -> None:
    assert loaded(tiny("llama"), copy).tuned.fingerprint == loaded(tiny("llama"), sharded(copy)).tuned.fingerprint


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no config.json in it"),
        (b"", "config.json is not JSON"),
        (b"[]", "config.json holds a list, and an object is wanted"),
        (b"null", "config.json holds a NoneType"),
        (b"{}", "config.json names no `model_type`"),
        (b'{"model_type": 5}', "config.json names no `model_type`"),
        (b'{"model_type": "nope"}', "model type `nope`"),
        (b"\xff\xfe\x00", "config.json is not JSON"),
        (b"[" * 100_000, "config.json is not JSON: maximum recursion depth"),
    ],
)
def test_a_config_that_is_none(tiny: Build, copy: Path, content: bytes | None, message: str) -> None:
    os.remove(copy / "config.json")
    if content is not None:
        (copy / "config.json").write_bytes(content)
    assert message in refused(tiny, copy)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vocab_size": "many"}, "Field 'vocab_size' expected int, got str"),
        ({"vocab_size": -3}, "`vocab_size` in its config.json is '-3'; a positive whole number is wanted"),
        ({"hidden_size": 0}, "`hidden_size` in its config.json is '0'"),
        ({"hidden_size": 10**12}, "its config.json says 7.53e+14 parameters and its files hold"),
        ({"vocab_size": 10**9}, "parameters and its files hold"),
        ({"num_hidden_layers": 10**7}, "its config.json says 10000000 layers and its files hold 30 tensors"),
        ({"num_hidden_layers": -1}, "`num_hidden_layers` in its config.json is '-1'"),
        ({"num_attention_heads": 5}, "5"),
        ({"num_attention_heads": 0}, "its configuration cannot be read"),
        ({"num_key_value_heads": 3}, "`num_attention_heads` 4 is no multiple of `num_key_value_heads` 3"),
        ({"max_position_embeddings": 0}, "`max_position_embeddings` in its config.json is '0'"),
        ({"architectures": "LlamaForCausalLM"}, "without `architectures`"),
        ({"architectures": [5]}, "without `architectures`"),
        ({"architectures": ["A" * 5000]}, "a causal language model is wanted"),
        ({"architectures": ["LlamaModel"]}, "is a 'LlamaModel'; a causal language model is wanted"),
        ({"hidden_act": "nope"}, "'nope'"),
        ({"rms_norm_eps": -9.0}, "its model cannot be run (its logits on two tokens are not finite)"),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 0.0}}, "its logits on two tokens are not finite"),
        ({"rope_parameters": {"rope_type": "nope"}}, "'nope'"),
        ({"dtype": "int8"}, "its configuration cannot be read"),
        ({"quantization_config": "x"}, "its configuration cannot be read"),
        ({"auto_map": 5}, "its configuration cannot be read"),
        ({"attention_bias": True}, "bias' is missing from its weights (12 missing in all)"),
        ({"transformers_weights": "../x.safetensors"}, "names '../x.safetensors' as its weights"),
    ],
)
def test_a_config_with_a_wrong_entry(tiny: Build, copy: Path, changes: dict, message: str) -> None:
    edit_json(copy / "config.json", **changes)
    assert message in refused(tiny, copy)


@pytest.mark.parametrize(
    ("model_type", "architecture"),
    [("bert", "BertModel"), ("t5", "T5ForConditionalGeneration"), ("vit", "ViTForImageClassification")],
)
def test_what_is_no_causal_language_model(copy: Path, model_type: str, architecture: str) -> None:
    edit_json(copy / "config.json", model_type=model_type, architectures=[architecture])
    message = refusal(lambda: load_pair(str(copy), str(copy)))
    assert f"is a '{architecture}'; a causal language model is wanted" in message


def test_every_tiny_architecture_is_a_causal_language_model(tiny: Build) -> None:
    for architecture in ("llama", "gpt2", "gemma2", "gpt_neox", "cohere"):
        checkpoint = parse_checkpoint(str(tiny(architecture)))
        require_language_model(checkpoint, AutoConfig.from_pretrained(tiny(architecture)))


def test_an_architecture_that_transformer_lens_does_not_know(tmp_path: Path) -> None:
    config = CTRLConfig(vocab_size=VOCABULARY, n_positions=32, n_embd=24, dff=40, n_layer=2, n_head=4)
    CTRLLMHeadModel(config).save_pretrained(tmp_path / "ctrl")
    tokenizer().save_pretrained(tmp_path / "ctrl")
    message = refusal(lambda: loaded(tmp_path / "ctrl", tmp_path / "ctrl"))
    assert "is a 'CTRLLMHeadModel', which TransformerLens does not know" in message
