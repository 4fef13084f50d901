"""Names of checkpoints, adapters, and refusals in one sentence."""

import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from conftest import Build, save_checkpoint
from mcinterp.batching import pad
from mcinterp.capture import run_with
from mcinterp.chain import load_chain, load_pair
from mcinterp.checkpoints import parse_chain, parse_checkpoint
from mcinterp.errors import InputError
from mcinterp.organisms import POCKET_STAGES


def test_hub_ids_keep_their_revision() -> None:
    checkpoint = parse_checkpoint("org/model-7b@step-1000")
    assert (checkpoint.location, checkpoint.revision, checkpoint.name) == ("org/model-7b", "step-1000", "model-7b")
    assert parse_checkpoint("org/model-7b").revision is None


def test_a_stage_name_may_be_given_before_any_checkpoint(tiny: Build) -> None:
    assert parse_checkpoint("sft=org/model@main").name == "sft"
    assert parse_checkpoint(f"mine={tiny('llama')}").location == str(tiny("llama"))
    assert [c.name for c in parse_chain(["org/a", "org/b"], ["first", "second"])] == ["first", "second"]


def test_repeated_stage_names_are_numbered(tiny: Build) -> None:
    assert [c.name for c in parse_chain(["a/m", "b/m", "c/m"])] == ["m", "m-2", "m-3"]


@pytest.mark.parametrize("name", POCKET_STAGES)
def test_pocket_checkpoints_are_found(name: str) -> None:
    assert parse_checkpoint(f"pocket:{name}").config.architectures == ["LlamaForCausalLM"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("pocket:nothing", "'pocket:nothing' does not ship with the library; give one of pocket:base"),
        ("./no/such/folder", "neither a directory that exists nor a hub id"),
        ("/no/such/folder", "neither a directory that exists nor a hub id"),
        ("org/model/extra", "neither a directory that exists nor a hub id"),
        ("", "neither a directory that exists nor a hub id"),
        ("org/base+/no/such/adapter", "has no adapter_config.json"),
    ],
)
def test_what_names_no_checkpoint_is_refused(spec: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_checkpoint(spec)


def test_one_checkpoint_is_no_comparison() -> None:
    with pytest.raises(InputError, match="at least two checkpoints, base first; got 1"):
        load_chain(["pocket:base"])


def test_the_name_of_the_difference_is_no_stage() -> None:
    with pytest.raises(InputError, match="a stage is named 'difference'"):
        parse_chain(["org/a", "difference=org/b"])


def corrupt(folder: Path, tmp_path: Path, name: str, content: bytes | None) -> Path:
    """A copy of a checkpoint with one file replaced or left out."""
    copy = tmp_path / "broken"
    copy.mkdir()
    for file in folder.iterdir():
        if file.name != name:
            (copy / file.name).write_bytes(file.read_bytes())
    if content is not None:
        (copy / name).write_bytes(content)
    return copy


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", None, "its configuration cannot be read"),
        ("config.json", b"{not json", "its configuration cannot be read"),
        ("config.json", b'{"model_type": "no-such-model"}', "its configuration cannot be read"),
        ("config.json", b'{"model_type": "llama"}', "without `architectures`"),
        ("model.safetensors", None, "its weights cannot be read"),
        ("model.safetensors", b"\x10\x00\x00\x00\x00\x00\x00\x00{", "its weights cannot be read"),
    ],
)
def test_broken_checkpoints_are_refused(
    tiny: Build, tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    broken = corrupt(tiny("llama"), tmp_path, name, content)
    with pytest.raises(InputError, match=message):
        load_pair(str(tiny("llama")), str(broken))


def test_nan_weights_are_refused_by_name(tiny: Build, tmp_path: Path) -> None:
    weights = load_file(tiny("llama") / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"][3, 4] = torch.nan
    broken = corrupt(tiny("llama"), tmp_path, "model.safetensors", None)
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"model.layers.1.mlp.up_proj.weight holds NaN or infinite values"):
        load_pair(str(tiny("llama")), str(broken))


@pytest.fixture
def adapter(tiny: Build, tmp_path: Path) -> Path:
    """A LoRA adapter directory whose update is not zero."""
    torch.manual_seed(3)
    base = AutoModelForCausalLM.from_pretrained(tiny("llama"))
    tuned = get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj", "down_proj"], init_lora_weights=False))
    tuned.save_pretrained(tmp_path / "lora")
    return tmp_path / "lora"


def reference_logits(base: Path, adapter: Path, ids: list[int]) -> torch.Tensor:
    """Logits of the adapter by PEFT itself, unmerged."""
    from peft import PeftModel

    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter)
    with torch.inference_mode():
        return model(torch.tensor([ids])).logits[:, -1]


def test_an_adapter_is_merged_into_the_base_it_names(tiny: Build, adapter: Path) -> None:
    pair = load_pair(str(tiny("llama")), str(adapter))
    ids = [3, 14, 15, 9, 2]
    logits = run_with(pair.tuned, pad([ids]), [])[:, -1]
    torch.testing.assert_close(logits, reference_logits(tiny("llama"), adapter, ids), atol=1e-5, rtol=0)
    assert pair.tuned.name == "lora"
    assert pair.base.fingerprint != pair.tuned.fingerprint


def test_an_adapter_can_be_put_on_a_given_base(tiny: Build, adapter: Path) -> None:
    settings = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps({**settings, "base_model_name_or_path": "/gone/away"}))
    with pytest.raises(InputError, match="names '/gone/away' as its base, which is not here; give the base as BASE"):
        parse_checkpoint(str(adapter))
    pair = load_pair(str(tiny("llama")), f"{tiny('llama', 'tuned')}+{adapter}")
    logits = run_with(pair.tuned, pad([[3, 1, 4]]), [])[:, -1]
    torch.testing.assert_close(logits, reference_logits(tiny("llama", "tuned"), adapter, [3, 1, 4]), atol=1e-5, rtol=0)


def test_fingerprints_tell_checkpoints_apart_and_repeat(tiny: Build) -> None:
    first, again = load_pair(str(tiny("llama")), str(tiny("llama"))).stages
    assert first.fingerprint == again.fingerprint
    assert first.fingerprint != load_pair(str(tiny("llama")), str(tiny("llama", "tuned"))).tuned.fingerprint


def test_a_change_of_one_weight_changes_the_fingerprint(tiny: Build, tmp_path: Path) -> None:
    weights = load_file(tiny("llama") / "model.safetensors")
    weights["model.layers.1.self_attn.q_proj.weight"][17, 5] += 1e-3
    other = corrupt(tiny("llama"), tmp_path, "model.safetensors", None)
    save_file(weights, other / "model.safetensors", metadata={"format": "pt"})
    base, changed = load_pair(str(tiny("llama")), str(other)).stages
    assert base.fingerprint != changed.fingerprint
    assert base.fingerprint != load_pair(str(tiny("llama")), str(tiny("llama")), dtype="bfloat16").base.fingerprint


def test_stored_half_precision_runs_in_float32_on_cpu(tmp_path: Path, tiny: Build) -> None:
    half = save_checkpoint(tmp_path / "half", "llama", seed=0)
    AutoModelForCausalLM.from_pretrained(half).to(torch.bfloat16).save_pretrained(half)
    pair = load_pair(str(tiny("llama")), str(half))
    assert pair.tuned.dtype == torch.float32
    assert pair.tuned.bridge.unembed.original_component.weight.dtype == torch.float32
    assert load_pair(str(half), str(half), dtype=["float32", "bfloat16"]).tuned.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "int4"}, "dtype 'int4' is unknown; give auto, float32"),
        ({"device": "nonsense"}, "device 'nonsense' cannot be used on this machine"),
        ({"device": ["cpu", "cpu", "cpu"]}, "got 3 values of device for 2 stages"),
        ({"names": ["one"]}, "got 1 stage names for 2 checkpoints"),
    ],
)
def test_bad_loading_options_are_refused(tiny: Build, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_pair(str(tiny("llama")), str(tiny("llama", "tuned")), **options)
