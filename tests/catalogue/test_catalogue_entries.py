"""Every entry against a config.json written by hand from it: what transformers and TransformerLens make of that."""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import torch
from transformer_lens.factories.architecture_adapter_factory import SUPPORTED_ARCHITECTURES
from transformer_lens.tools.model_registry.api import is_architecture_supported
from transformers import AutoConfig, AutoModelForCausalLM

from conftest import SHAPES, Build
from mcinterp.alignment.shapes import SHAPES as READ
from mcinterp.catalogue import Entry, Published, Shape, Template, Trap, entries, entry, left_out
from mcinterp.catalogue.counting import counted
from mcinterp.catalogue.entry import TRAPS
from mcinterp.checkpoints import parse_checkpoint
from mcinterp.cli.cataloguing import bytes_of, needed
from mcinterp.placement.memory import Need, held, is_inside, need_of

ENTRIES = list(entries())
STAGES = [(each, stage) for each in ENTRIES for stage in each.stages]
TINY = {
    "llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "olmo2": "Olmo2ForCausalLM",
    "gpt_neox": "GPTNeoXForCausalLM",
}  # fmt: skip


def name_of(value: object) -> str | None:
    """What a case is called."""
    return value.name if isinstance(value, Entry | Published) else None


@cache
def empty_model(written: str) -> torch.nn.Module:
    """The model of a config.json, with shapes alone."""
    folder = Path(written)
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where configurations are written, one for every set of sizes."""
    return tmp_path_factory.mktemp("configurations")


def written(folders: Path, each: Entry, stage: Published) -> Path:
    """The folder of a stage's config.json, written by hand from its entry."""
    text = json.dumps(each.configuration(stage), indent=1)
    folder = folders / f"{each.family}-{abs(hash(text))}"
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(text)
    return folder


@pytest.mark.parametrize(("each", "stage"), STAGES, ids=name_of)
def test_a_configuration_written_by_hand_is_of_the_stated_architecture(
    folders: Path, each: Entry, stage: Published
) -> None:
    config = AutoConfig.from_pretrained(written(folders, each, stage))
    assert config.model_type == each.model_type
    assert type(empty_model(str(written(folders, each, stage)))).__name__ == each.architecture
    assert config.max_position_embeddings == stage.context
    assert config.tie_word_embeddings == each.shape.tied
    shape = each.shape
    assert [READ[name](config) for name in list(READ)[:6]] == [
        shape.n_layers, shape.d_model, shape.n_heads, shape.n_kv_heads, shape.d_head, shape.d_mlp
    ]  # fmt: skip


@pytest.mark.parametrize("each", ENTRIES, ids=name_of)
def test_transformer_lens_bridges_the_architecture(each: Entry) -> None:
    assert each.architecture in SUPPORTED_ARCHITECTURES
    assert is_architecture_supported(each.architecture)


@pytest.mark.parametrize(("each", "stage"), STAGES, ids=name_of)
def test_parameters_are_those_of_the_empty_model(folders: Path, each: Entry, stage: Published) -> None:
    sizes = {name: p.numel() for name, p in empty_model(str(written(folders, each, stage))).named_parameters()}
    inside = sum(size for name, size in sizes.items() if is_inside(name))
    assert each.parameters_of(stage) == (inside, sum(sizes.values()) - inside)
    if stage.name == "base":
        assert each.parameters == sum(sizes.values())


@pytest.mark.parametrize("each", ENTRIES, ids=name_of)
@pytest.mark.parametrize(("dtype", "width"), [("float32", 4), ("bfloat16", 2)])
def test_memory_is_the_estimate_of_the_empty_models(folders: Path, each: Entry, dtype: str, width: int) -> None:
    needs = []
    for stage in each.stages:
        sizes = {name: p.numel() for name, p in empty_model(str(written(folders, each, stage))).named_parameters()}
        inside = sum(size for name, size in sizes.items() if is_inside(name)) * width
        total = sum(sizes.values()) * width
        needs.append(Need(stage.name, "cpu", total, total - inside, int(inside / each.shape.n_layers)))
    for placement in ("together", "one", "stream"):
        assert needed(each, placement, dtype) == held(placement, needs) / 1e9


@pytest.mark.parametrize(("architecture", "name"), TINY.items())
def test_bytes_are_those_that_placements_are_chosen_by(tiny: Build, architecture: str, name: str) -> None:
    checkpoint = parse_checkpoint(str(tiny(architecture)))
    config, given = checkpoint.config, SHAPES[architecture]
    shape = Shape(
        3, 24, 4, given.get("num_key_value_heads", 4), 6, 40, config.vocab_size, 64, config.tie_word_embeddings
    )  # fmt: skip
    inside, outside = counted(name, shape, config.vocab_size)
    need = need_of(checkpoint, "cpu", torch.float64)
    assert (need.total, need.outside, need.layer) == (8 * (inside + outside), 8 * outside, 8 * inside // 3)


def test_every_stage_is_its_own_checkpoint_and_names_are_unique() -> None:
    names = [each.name for each in ENTRIES] + list(left_out())
    assert len(set(names)) == len(names)
    for each in ENTRIES:
        assert each.stages[0].name == "base"
        assert (
            len({stage.name for stage in each.stages}) == len({stage.hub for stage in each.stages}) == len(each.stages)
        )
        assert all(stage.revision == "main" for stage in each.stages)
        assert any(said.startswith("no commit is pinned") for said in each.unconfirmed)


def test_every_entry_says_when_and_how_it_was_checked() -> None:
    for each in ENTRIES:
        assert each.checked == "2026-11-26"
        assert any("hub ids" in source for source in each.sources)
        assert any("shape" in source for source in each.sources)
        assert {trap.kind for trap in each.traps} <= set(TRAPS)
        assert each.counted_by


def test_a_vocabulary_that_differs_between_stages_is_told() -> None:
    differing = {each.name for each in ENTRIES if len({stage.vocabulary for stage in each.stages}) > 1}
    assert differing == {"tulu3-8b", "tulu3-70b"}
    for name in differing:
        assert any(trap.kind == "vocabulary" and "128264" in trap.says for trap in entry(name).traps)
    contexts = {each.name for each in ENTRIES if len({stage.context for stage in each.stages}) > 1}
    assert contexts == {each.name for each in ENTRIES if any(trap.kind == "context" for trap in each.traps)}


def test_an_entry_is_frozen_and_holds_what_its_file_says() -> None:
    found = entry("tulu3-8b")
    assert found.stage("rlvr") == Published(
        "rlvr", "allenai/Llama-3.1-Tulu-3-8B", "RLVR (PPO)", "main", 128264, 131072, "bfloat16", True
    )
    assert found.shape == Shape(32, 4096, 32, 8, 128, 14336, 128256, 131072, False)
    assert found.template == Template("Tulu", "<|user|>\n{message}\n<|assistant|>\n")
    assert all(isinstance(trap, Trap) for trap in found.traps)
    assert found.stage("ppo") is None
    with pytest.raises(AttributeError, match="cannot assign to field 'parameters'"):
        found.parameters = 1  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(TypeError, match="does not support item assignment"):
        found.config["rope_theta"] = 1.0  # pyright: ignore[reportIndexIssue]


def test_bytes_of_stages_follow_their_own_vocabulary() -> None:
    found = entry("tulu3-8b")
    base, tuned = (bytes_of(found, stage, 2)[0] for stage in found.stages[:2])
    assert tuned - base == 2 * 2 * 8 * 4096


def test_the_catalogue_needs_neither_torch_nor_transformers() -> None:
    code = (
        "import sys, mcinterp.catalogue as c; c.entries(); sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
