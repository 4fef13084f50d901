"""Names of checkpoints, adapters and settings that are strange or wrong."""

import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from hostile_files import WEIGHTS, Marker, copied, edit_json, loaded, refusal, refused
from safetensors.torch import load_file

from conftest import Build, save_checkpoint
from mcinterp.chain import load_pair
from mcinterp.checkpoints import Trust, parse_chain, parse_checkpoint

UP, GATE = "model.layers.0.mlp.up_proj.weight", "model.layers.0.mlp.gate_proj.weight"


@pytest.fixture
def copy(tiny: Build, tmp_path: Path) -> Path:
    """A copy of the tiny Llama, to break."""
    return copied(tiny("llama"), tmp_path / "broken")


@pytest.mark.parametrize(
    "name",
    ["with spaces", "ünïcode 🙂", "new\nline", "tab\there", "a+b", "semi;colon", "eq=ual", "gpt2-small", "-dash"],
)
def test_directories_may_have_any_name(tiny: Build, copy: Path, name: str, tmp_path: Path) -> None:
    there = copy.rename(tmp_path / name)
    pair = loaded(tiny("llama"), there)
    assert pair.base.fingerprint == pair.tuned.fingerprint
    assert pair.tuned.name.isprintable()


def test_a_directory_called_like_a_hub_model_is_the_directory(
    tiny: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied(tiny("llama"), tmp_path / "gpt2-small")
    monkeypatch.chdir(tmp_path)
    pair = loaded(tiny("llama"), "gpt2-small")
    assert pair.base.fingerprint == pair.tuned.fingerprint


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "neither a directory that exists nor a hub id"),
        ("x" * 100_000, "neither a directory that exists nor a hub id"),
        ("a/" * 3000, "neither a directory that exists nor a hub id"),
        ("nul\0byte", "'nul\\x00byte' is neither"),
        ("new\nline", "'new\\nline' is neither"),
        ("\x1b[31mred", "neither a directory"),
        ("~nobody-of-this-name/x", "neither a directory"),
        ("org/na me", "neither a directory"),
        ("órg/name", "neither a directory"),
        ("org/../../etc", "neither a directory"),
        ("org/name@../../main", "neither a directory"),
        ("pocket:../../etc", "does not ship with the library; give one of pocket:base"),
        ("pocket:", "does not ship with the library"),
        ("pocket:base+nowhere", "adapter 'nowhere' has no adapter_config.json"),
        ("a=", "neither a directory"),
        ("🙂", "neither a directory"),
    ],
)
def test_specs_that_name_nothing(spec: str, message: str) -> None:
    assert message in refusal(lambda: parse_checkpoint(spec))


def test_a_file_is_no_directory(tiny: Build) -> None:
    assert "is a file; give the directory" in refusal(lambda: parse_checkpoint(str(tiny("llama") / WEIGHTS)))


def test_a_loop_of_links_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert "neither a directory" in refusal(lambda: parse_checkpoint(str(tmp_path / "loop")))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tiny: Build, copy: Path) -> None:
    (copy / WEIGHTS).chmod(0)
    assert "its weights cannot be read" in refused(tiny, copy)


def test_a_directory_or_a_loop_in_the_place_of_weights(tiny: Build, copy: Path) -> None:
    os.remove(copy / WEIGHTS)
    (copy / WEIGHTS).mkdir()
    assert "no weights are there" in refused(tiny, copy)
    (copy / WEIGHTS).rmdir()
    (copy / WEIGHTS).symlink_to(copy / WEIGHTS)
    assert "no weights are there" in refused(tiny, copy)


def test_stage_names_stay_distinct() -> None:
    assert [c.name for c in parse_chain(["a/m", "b/m", "c/m-2", "d/m"])] == ["m", "m-2", "m-2-2", "m-3"]


@pytest.mark.parametrize("name", ["", "new\nline", "\x1b[0m"])
def test_stage_names_can_be_shown(name: str) -> None:
    assert "a stage is named" in refusal(lambda: parse_chain(["a/m", "b/m"], ["base", name]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "names '[]' as its base, and text is wanted"),
        ('{"base_model_name_or_path": 5}', "names '5' as its base, and text is wanted"),
        ("{}", "names '' as its base, which is not here"),
        ('{"base_model_name_or_path": "/gone\\nfar"}', "names '/gone\\nfar' as its base"),
    ],
)
def test_adapters_that_name_no_base(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "adapter_config.json").write_text(content)
    assert message in refusal(lambda: parse_checkpoint(str(tmp_path)))


def test_adapters_do_not_stand_on_adapters(tiny: Build, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(tmp_path)}))
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(tmp_path)}))
    assert "stands on another adapter" in refusal(lambda: parse_checkpoint(str(tmp_path)))
    stacked = f"{tiny('llama')}+{tmp_path / 'one'}+{tmp_path / 'two'}"
    assert "stands on another adapter" in refusal(lambda: parse_checkpoint(stacked))


@pytest.fixture
def adapter(tiny: Build, tmp_path: Path) -> Path:
    """A LoRA adapter of the tiny Llama."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(tiny("llama"))
    made = get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    made.save_pretrained(tmp_path / "lora")
    return tmp_path / "lora"


def test_an_adapter_that_lacks_a_tensor(tiny: Build, adapter: Path) -> None:
    from safetensors.torch import save_file

    weights = load_file(adapter / "adapter_model.safetensors")
    weights.pop(min(weights))
    save_file(weights, adapter / "adapter_model.safetensors", metadata={"format": "pt"})
    assert "is missing from its weights (1 missing in all)" in refused(tiny, adapter)


def test_an_adapter_that_is_broken_or_pickled(tiny: Build, adapter: Path, tmp_path: Path) -> None:
    file = adapter / "adapter_model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-8])
    assert "its adapter's weights cannot be read" in refused(tiny, adapter)
    os.remove(file)
    assert "the adapter has no adapter_model.safetensors" in refused(tiny, adapter)
    (adapter / "adapter_model.bin").write_bytes(pickle.dumps({"a": Marker(tmp_path / "ran")}))
    assert "a pickle (adapter_model.bin), which can run code" in refused(tiny, adapter)
    trusted = parse_checkpoint(str(adapter), trust=Trust(pickled=True))
    refusal(lambda: trusted.load(device="cpu", dtype=torch.float32))
    assert not (tmp_path / "ran").exists()


def test_a_damaged_generation_config_is_refused_and_a_missing_one_is_none(tiny: Build, copy: Path) -> None:
    edit_json(copy / "generation_config.json", eos_token_id="x")
    assert "its `eos_token_id` is 'x', and whole numbers are wanted" in refused(tiny, copy)
    (copy / "generation_config.json").write_text("{")
    assert "its generation settings cannot be read" in refused(tiny, copy)
    os.remove(copy / "generation_config.json")
    assert loaded(tiny("llama"), copy).tuned.checkpoint.generation_settings == {}


def test_reading_leaves_the_loggers_and_warnings_as_they_were(tiny: Build) -> None:
    import logging
    import warnings

    levels = [logging.getLogger(name).level for name in ("transformers", "huggingface_hub", "torch")]
    filters = list(warnings.filters)
    refusal(lambda: load_pair(str(tiny("llama")), "pocket:base"))
    assert [logging.getLogger(name).level for name in ("transformers", "huggingface_hub", "torch")] == levels
    assert list(warnings.filters) == filters


def test_a_checkpoint_with_the_same_shape_still_loads(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path / "gpt2", "gpt2", seed=1)
    assert loaded(folder, folder).tuned.n_layers == 3
