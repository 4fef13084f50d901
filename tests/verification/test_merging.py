"""A checkpoint with some sites reverted is what the graft computes, saved like any other checkpoint."""

import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from conftest import CHAT_TEMPLATE, GROUPED, SHAPES, Build, save_checkpoint
from mcinterp.chain import Chain, load_pair
from mcinterp.errors import InputError
from mcinterp.verification.merging import uncollapse
from mcinterp.weights.grafts import grafted
from mcinterp.weights.groups import groups_of

IDS = torch.tensor([[0, 5, 17, 40, 3, 3, 61], [0, 2, 30, 30, 9, 77, 1]])
CHOICES = [["1.attn"], ["2.mlp"], ["norm"], ["embed"], ["unembed"], ["0.attn", "1.mlp", "norm", "unembed"]]


@torch.inference_mode()
def logits(stage) -> torch.Tensor:
    return stage.bridge(IDS)


def stored(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def assert_saves_the_graft(chain: Chain, base: Path, sites: list[str], out: Path, by: str = "component") -> None:
    """The folder, loaded as a stage, has the logits of the graft, which are not those of the tuned stage."""
    saved = uncollapse(chain, sites, out, by=by)
    with grafted(chain, sites, by=by) as stage:
        wanted = logits(stage)
    assert not torch.allclose(wanted, logits(chain.tuned), atol=1e-3)
    torch.testing.assert_close(logits(load_pair(str(base), str(saved)).tuned), wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gpt_neox", "gemma2", "qwen2", "cohere"])
def test_the_saved_checkpoint_is_the_graft(tiny: Build, tmp_path: Path, architecture: str) -> None:
    base, tuned = tiny(architecture), tiny(architecture, "tuned")
    chain = load_pair(str(base), str(tuned))
    for number, sites in enumerate(CHOICES):
        assert_saves_the_graft(chain, base, sites, tmp_path / str(number))


def test_a_fused_matrix_that_is_computed_with_in_two_halves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SHAPES, "phi3", GROUPED)
    base = save_checkpoint(tmp_path / "base", "phi3", seed=0)
    tuned = save_checkpoint(tmp_path / "tuned", "phi3", seed=1, noise_of=base)
    chain = load_pair(str(base), str(tuned))
    for sites in (["1.mlp"], ["1.attn"]):
        assert_saves_the_graft(chain, base, sites, tmp_path / sites[0])
    with pytest.raises(InputError, match="holds mlp.gate_up_proj, mlp.gate, mlp.in in one matrix"):
        uncollapse(chain, ["blocks.1.mlp.gate.weight"], tmp_path / "out", by="tensor")


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gpt_neox", "gemma2"])
def test_all_sites_give_the_base_and_the_rest_stays_bit_for_bit(tiny: Build, tmp_path: Path, architecture: str) -> None:
    base, tuned = tiny(architecture), tiny(architecture, "tuned")
    chain = load_pair(str(base), str(tuned))
    names = [group.name for group in groups_of(chain.base, "component")]
    everything = stored(uncollapse(chain, names, tmp_path / "all"))
    before, after = stored(base), stored(tuned)
    assert everything.keys() == before.keys()
    assert all(torch.equal(everything[name], before[name]) for name in before)
    folder = uncollapse(chain, ["1.attn"], tmp_path / "one")
    one, named = stored(folder), json.loads((folder / "mcinterp.json").read_text())["parameters"]
    assert {name for name in after if not torch.equal(one[name], after[name])} <= set(named)
    assert all(torch.equal(one[name], before[name]) for name in named)
    assert all(torch.equal(one[name], after[name]) for name in after.keys() - set(named))
    assert len(named) >= 4


def test_tied_embeddings_are_taken_apart_where_one_is_named(tmp_path: Path) -> None:
    base = save_checkpoint(tmp_path / "base", "llama", seed=0, tie_word_embeddings=True)
    tuned = save_checkpoint(tmp_path / "tuned", "llama", seed=1, noise_of=base, tie_word_embeddings=True)
    chain = load_pair(str(base), str(tuned))
    for sites in (["embed"], ["unembed"], ["embed", "unembed"], ["2.mlp"]):
        out = tmp_path / "-".join(sites)
        assert_saves_the_graft(chain, base, sites, out)
        tied = len(sites) == 2 or sites == ["2.mlp"]
        assert json.loads((out / "config.json").read_text())["tie_word_embeddings"] is tied
        assert ("lm_head.weight" in stored(out)) is not tied
    assert torch.equal(stored(tmp_path / "embed")["lm_head.weight"], stored(tuned)["model.embed_tokens.weight"])


def test_a_tied_checkpoint_and_an_untied_one_mix(tmp_path: Path) -> None:
    tied = save_checkpoint(tmp_path / "tied", "llama", seed=0, tie_word_embeddings=True)
    apart = save_checkpoint(tmp_path / "apart", "llama", seed=1)
    for number, (base, tuned) in enumerate([(tied, apart), (apart, tied)]):
        chain = load_pair(str(base), str(tuned))
        for sites in (["embed"], ["embed", "unembed"]):
            assert_saves_the_graft(chain, base, sites, tmp_path / f"{number}-{len(sites)}")


def test_heads_are_taken_by_rows_and_columns(tiny: Build, tmp_path: Path) -> None:
    for architecture in ("llama", "qwen2"):
        base, tuned = tiny(architecture), tiny(architecture, "tuned")
        chain = load_pair(str(base), str(tuned))
        assert_saves_the_graft(chain, base, ["1.attn.2", "1.kv.0", "0.attn.3"], tmp_path / architecture, by="head")
        assert_saves_the_graft(chain, base, ["layer 1"], tmp_path / f"{architecture}-layer", by="layer")


@pytest.mark.parametrize("architecture", ["gpt2", "gpt_neox"])
def test_heads_of_fused_matrices_are_refused(tiny: Build, tmp_path: Path, architecture: str) -> None:
    chain = load_pair(str(tiny(architecture)), str(tiny(architecture, "tuned")))
    with pytest.raises(InputError, match="in one matrix, so a part of it cannot be taken .* group by component"):
        uncollapse(chain, ["1.attn.2"], tmp_path / "out", by="head")
    assert list(tmp_path.iterdir()) == []


def test_tokenizer_template_settings_and_dtype_are_the_tuned_ones(tiny: Build, tmp_path: Path) -> None:
    tuned = tmp_path / "half"
    AutoModelForCausalLM.from_pretrained(tiny("llama", "tuned")).to(torch.bfloat16).save_pretrained(tuned)
    for file in tiny("llama", "tuned").iterdir():
        if not (tuned / file.name).exists():
            (tuned / file.name).write_bytes(file.read_bytes())
    settings = '{"do_sample": false, "temperature": 0.7, "eos_token_id": 1}'
    (tuned / "generation_config.json").write_text(settings)
    chain = load_pair(str(tiny("llama")), str(tuned))
    out = uncollapse(chain, ["1.mlp"], tmp_path / "out")
    assert {weight.dtype for weight in stored(out).values()} == {torch.bfloat16}
    assert (out / "generation_config.json").read_text() == settings
    made = load_pair(str(tiny("llama")), str(out)).tuned.tokenizer
    assert made.chat_template == CHAT_TEMPLATE
    assert made("Are bugs real?\n").input_ids == chain.tuned.tokenizer("Are bugs real?\n").input_ids
    record = json.loads((out / "mcinterp.json").read_text())
    assert (record["sites"], record["by"], record["dtype"]) == (["1.mlp"], "component", "bfloat16")
    assert record["weights_from"]["location"] == str(tiny("llama"))
    assert record["versions"]["transformers"]
    assert {entry.name for entry in out.iterdir()} == {*record["files"], "mcinterp.json"}
    assert "is_local" not in (out / "tokenizer_config.json").read_text()


def test_a_checkpoint_without_generation_settings_gets_none(tiny: Build, tmp_path: Path) -> None:
    tuned = save_checkpoint(tmp_path / "tuned", "llama", seed=1, noise_of=tiny("llama"))
    (tuned / "generation_config.json").unlink()
    out = uncollapse(load_pair(str(tiny("llama")), str(tuned)), ["embed"], tmp_path / "out")
    assert not (out / "generation_config.json").exists()


def test_an_adapter_is_merged(tiny: Build, tmp_path: Path) -> None:
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_pretrained(tiny("llama"))
    config = LoraConfig(r=2, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    get_peft_model(model, config).save_pretrained(tmp_path / "lora")
    chain = load_pair(str(tiny("llama")), f"{tiny('llama')}+{tmp_path / 'lora'}")
    assert_saves_the_graft(chain, tiny("llama"), ["1.attn"], tmp_path / "out")


def test_the_base_and_tuned_stages_are_left_as_they_are(pair: Chain, tmp_path: Path) -> None:
    before = [logits(stage) for stage in pair.stages]
    uncollapse(pair, ["1.mlp", "embed"], tmp_path / "out")
    assert all(torch.equal(logits(stage), own) for stage, own in zip(pair.stages, before, strict=True))


def test_an_earlier_result_is_replaced_and_nothing_else(pair: Chain, tmp_path: Path) -> None:
    out = uncollapse(pair, ["1.mlp"], tmp_path / "out")
    first = stored(out)
    uncollapse(pair, ["unembed"], out)
    assert not torch.equal(stored(out)["lm_head.weight"], first["lm_head.weight"])
    (out / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds 'notes.txt', which no earlier call wrote"):
        uncollapse(pair, ["1.mlp"], out)
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("sites", "message"),
    [
        (["9.mlp"], "got '9.mlp' for groups by component"),
        ([], r"got \[\] for sites; give a list of names"),
        ("unembed", "got 'unembed' for sites; give a list of names"),
    ],
)
def test_unknown_sites_are_refused(pair: Chain, tmp_path: Path, sites: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        uncollapse(pair, sites, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_inputs_are_never_written_over(pair: Chain) -> None:
    tuned = Path(pair.tuned.checkpoint.location)
    before = sorted(entry.name for entry in tuned.iterdir())
    for out in (tuned, tuned.parent, tuned / "." / ".." / tuned.name):
        with pytest.raises(InputError, match="holds the checkpoint .* that is read"):
            uncollapse(pair, ["1.mlp"], out)
    assert sorted(entry.name for entry in tuned.iterdir()) == before


def test_what_is_not_a_folder_of_its_own_is_refused(pair: Chain, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "config.json").write_text("{}")
    with pytest.raises(InputError, match="is a file and a folder is wanted"):
        uncollapse(pair, ["1.mlp"], tmp_path / "file")
    with pytest.raises(InputError, match="holds 'config.json', which no earlier call wrote"):
        uncollapse(pair, ["1.mlp"], tmp_path / "folder")
    with pytest.raises(InputError, match="cannot be written .*; give another folder"):
        uncollapse(pair, ["1.mlp"], tmp_path / "file" / "below")
    (tmp_path / "empty").mkdir()
    assert uncollapse(pair, ["1.mlp"], tmp_path / "empty") == tmp_path / "empty"


def test_quantised_weights_are_refused(pair: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair.tuned.checkpoint.config, "quantization_config", {"quant_method": "gptq"}, raising=False)
    with pytest.raises(InputError, match="is quantised, so its weights cannot be put beside others"):
        uncollapse(pair, ["1.mlp"], tmp_path / "out")


def test_another_shape_is_refused(tiny: Build, tmp_path: Path) -> None:
    longer = save_checkpoint(tmp_path / "longer", "llama", seed=1, vocab_size=90)
    chain = load_pair(str(tiny("llama")), str(longer))
    with pytest.raises(InputError, match=r"has \(85, 24\) for 'lm_head.weight' and the tuned checkpoint \(90, 24\)"):
        uncollapse(chain, ["unembed"], tmp_path / "out")
    assert_saves_the_graft(chain, tiny("llama"), ["1.mlp"], tmp_path / "mlp")


def test_a_failed_save_leaves_nothing(pair: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = uncollapse(pair, ["1.mlp"], tmp_path / "out")
    first = stored(out)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(pair.tuned.tokenizer), "save_pretrained", full)
    with pytest.raises(InputError, match="cannot be saved with other weights .*No space left"):
        uncollapse(pair, ["unembed"], out)
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]
    assert all(torch.equal(value, first[name]) for name, value in stored(out).items())
