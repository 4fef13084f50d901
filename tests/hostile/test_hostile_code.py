"""Pickles and planted code: refused, and never run unless they are trusted."""

import os
import pickle
from pathlib import Path

import pytest
import torch
from hostile_files import WEIGHTS, Marker, copied, edit_json, loaded, refusal, refused
from safetensors.torch import load_file

from conftest import Build
from mcinterp.checkpoints import Trust, parse_checkpoint

UP, GATE = "model.layers.0.mlp.up_proj.weight", "model.layers.0.mlp.gate_proj.weight"


@pytest.fixture
def copy(tiny: Build, tmp_path: Path) -> Path:
    """A copy of the tiny Llama, to break."""
    return copied(tiny("llama"), tmp_path / "broken")


def pickled(folder: Path, name: str = "pytorch_model.bin") -> None:
    """Put the weights into a pickle."""
    torch.save(load_file(folder / WEIGHTS), folder / name)
    os.remove(folder / WEIGHTS)


def test_pickled_weights_are_read_only_when_asked_for(tiny: Build, copy: Path) -> None:
    pickled(copy)
    assert "a pickle (pytorch_model.bin), which can run code" in refused(tiny, copy)
    assert "--allow-pickle" in refused(tiny, copy)
    checkpoint = parse_checkpoint(str(copy), trust=Trust(pickled=True))
    bridge = checkpoint.load(device="cpu", dtype=torch.float32)
    theirs = load_file(tiny("llama") / WEIGHTS)["lm_head.weight"]
    torch.testing.assert_close(bridge.unembed.original_component.weight.detach(), theirs, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["model.pt", "weights.pkl", "model.bin"])
def test_other_pickles_are_never_read(tiny: Build, copy: Path, name: str) -> None:
    pickled(copy, name)
    assert f"only '{name}' is there, a pickle that can run code" in refused(tiny, copy)


def test_the_planted_pickle_does_run_where_it_is_simply_unpickled(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Marker(tmp_path / "ran"))).close()
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("trust", [Trust(), Trust(pickled=True), Trust(pickled=True, remote_code=True)])
def test_a_malicious_pickle_is_never_run(copy: Path, tmp_path: Path, trust: Trust) -> None:
    marker = tmp_path / "ran"
    os.remove(copy / WEIGHTS)
    (copy / "pytorch_model.bin").write_bytes(pickle.dumps({"lm_head.weight": Marker(marker)}))
    checkpoint = parse_checkpoint(str(copy), trust=trust)
    refusal(lambda: checkpoint.load(device="cpu", dtype=torch.float32))
    assert not marker.exists()


def with_code(folder: Path, marker: Path, model_type: str) -> None:
    """Make a checkpoint bring a modelling file, a configuration file and a tokenizer file that leave a mark."""
    for module in ("configuration_evil", "modeling_evil", "tokenization_evil"):
        (folder / f"{module}.py").write_text(
            f"open({str(marker)!r}, 'w').close()\n"
            "from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast\n"
            f"class EvilConfig(LlamaConfig):\n    model_type = {model_type!r}\n"
            "class EvilModel(LlamaForCausalLM):\n    config_class = EvilConfig\n"
            "class EvilTokenizer(PreTrainedTokenizerFast):\n    pass\n"
        )
    places = {"AutoConfig": "configuration_evil.EvilConfig", "AutoModelForCausalLM": "modeling_evil.EvilModel"}
    edit_json(folder / "config.json", model_type=model_type, auto_map=places)
    tokenizer = {"AutoTokenizer": ["tokenization_evil.EvilTokenizer", "tokenization_evil.EvilTokenizer"]}
    edit_json(folder / "tokenizer_config.json", auto_map=tokenizer, tokenizer_class="EvilTokenizer")


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where planted code leaves its mark; code that is trusted is copied into a cache of this test's own."""
    import transformers.dynamic_module_utils

    monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    return tmp_path / "ran"


def test_planted_code_does_not_run(tiny: Build, copy: Path, marker: Path) -> None:
    with_code(copy, marker, "evil")
    message = refused(tiny, copy)
    assert "its configuration cannot be read without code that it brings, which is not run unless asked for" in message
    assert "--trust-remote-code" in message
    assert not marker.exists()


def test_planted_code_of_a_known_architecture_does_not_run_either(tiny: Build, copy: Path, marker: Path) -> None:
    with_code(copy, marker, "llama")
    assert "its tokenizer cannot be read without code that it brings" in refused(tiny, copy)
    edit_json(copy / "tokenizer_config.json", auto_map=None, tokenizer_class="PreTrainedTokenizerFast")
    pair = loaded(tiny("llama"), copy)
    assert pair.base.fingerprint == pair.tuned.fingerprint
    assert not marker.exists()


def test_planted_code_runs_when_it_is_trusted(copy: Path, marker: Path) -> None:
    with_code(copy, marker, "evil")
    checkpoint = parse_checkpoint(str(copy), trust=Trust(remote_code=True))
    assert checkpoint.config.model_type == "evil"
    assert marker.exists()
    assert checkpoint.provenance()["trust"] == {"pickled": False, "remote_code": True}
    assert type(checkpoint.read_model()).__name__ == "EvilModel"


@pytest.mark.parametrize("entry", ["attn_implementation", "_attn_implementation", "experts_implementation"])
def test_kernels_from_the_hub_are_code_too(tiny: Build, copy: Path, entry: str) -> None:
    edit_json(copy / "config.json", **{entry: "someone/kernel"})
    assert "without code that it brings, which is not run unless asked for" in refused(tiny, copy)
