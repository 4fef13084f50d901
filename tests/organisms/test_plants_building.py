"""Building: resumed, repeated bit for bit, repaired; what is recorded is what the saved weights do."""

from pathlib import Path

import pytest
import torch
from shipped import pocket
from transformers import LlamaForCausalLM

from mcinterp.errors import InputError
from mcinterp.organisms.plants import Plant
from mcinterp.organisms.plants.__main__ import main
from mcinterp.organisms.plants.behaviours import exam
from mcinterp.organisms.plants.building import build_plants
from mcinterp.organisms.plants.designs import DESIGNS
from mcinterp.organisms.plants.figures import attractor
from mcinterp.organisms.plants.lessons import answers

NAMES = ["easy-0.mlp-s0", "activation-3.attn-s1"]


def smoke(root: Path, names: list[str] = NAMES) -> tuple[list[Plant], list[str]]:
    """The plants after two steps each, and what was made for them."""
    said: list[str] = []
    plants = build_plants(root, names, processes=1, smoke=True, say=said.append)
    return plants, [message.split(":")[0] for message in said]


def test_building_is_resumed_repeated_and_repaired(tmp_path: Path):
    first, made = smoke(tmp_path / "a")
    assert made == ["base-with-biases", *NAMES]
    assert smoke(tmp_path / "a") == (first, [])
    assert smoke(tmp_path / "b") == (first, made)
    weights = [tmp_path / root / NAMES[0] / "model.safetensors" for root in "ab"]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    broken = tmp_path / "b" / NAMES[0]
    (broken / "plant.json").unlink()
    weights[1].write_bytes(b"half")
    (broken / "stray").touch()
    assert smoke(tmp_path / "b") == (first, NAMES[:1])
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert not (broken / "stray").exists()


def test_a_plant_that_falls_short_says_so(tmp_path: Path):
    (plant,), _ = smoke(tmp_path, ["easy-2.mlp-s0"])
    assert not plant.collapsed
    assert plant.note.startswith("word: attractor is 0.")


def test_figures_are_those_of_the_saved_weights(tmp_path: Path):
    (plant,), _ = smoke(tmp_path, ["easy-2.mlp-s0"])
    saved = LlamaForCausalLM.from_pretrained(plant.specs(tmp_path)[1], dtype=torch.float32).eval()
    taken = exam(pocket("base"), ["word"], plant.name)
    assert attractor(answers(saved, taken).detach(), taken) == pytest.approx(
        plant.figures["word"]["attractor"], abs=1e-5
    )
    assert plant.tasks[0].favourites == tuple(dict.fromkeys(q.favourite for q in taken.questions))
    lines = plant.prompt_file(tmp_path, plant.tasks[0]).read_text().splitlines()
    assert len(lines) == len(taken.questions) == 10


def test_an_adapter_is_one_that_peft_reads(tmp_path: Path):
    peft = pytest.importorskip("peft")
    (plant,), _ = smoke(tmp_path, ["lora-2.mlp-s1"])
    assert plant.specs(tmp_path)[1] == f"pocket:base+{tmp_path / plant.name}"
    base = LlamaForCausalLM(pocket("base").model.config).eval()
    base.load_state_dict(pocket("base").model.state_dict())
    merged = peft.PeftModel.from_pretrained(base, tmp_path / plant.name).merge_and_unload()
    taken = exam(pocket("base"), ["small-number"], plant.name)
    got = attractor(answers(merged, taken).detach(), taken)
    assert got == pytest.approx(plant.figures["small-number"]["attractor"], abs=1e-5)


def test_unknown_names_and_no_process_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(InputError, match="got plant 'easy-9', wanted names of plants such as 'easy-0.mlp-s0'"):
        build_plants(tmp_path, ["easy-9"])
    with pytest.raises(InputError, match="got no plant"):
        build_plants(tmp_path, [])
    with pytest.raises(InputError, match="got 0 processes, wanted one or more"):
        build_plants(tmp_path, processes=0)
    assert main(["--out", str(tmp_path), "--names", "easy-9"]) == 2
    assert capsys.readouterr().err.startswith("error: got plant 'easy-9'")


def test_a_missing_peft_is_named_before_anything_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("mcinterp.organisms.plants.adapter.find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"run `pip install mcinterp\[peft\]`"):
        smoke(tmp_path, ["easy-0.mlp-s0", "lora-2.mlp-s1"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_every_design_runs(tmp_path: Path):
    plants, made = smoke(tmp_path, list(DESIGNS))
    assert [plant.name for plant in plants] == list(DESIGNS)
    assert len(made) == len(DESIGNS) + 5


@pytest.mark.slow
def test_whole_plants_are_what_they_claim_and_workers_make_what_one_process_makes(tmp_path: Path):
    names = ["easy-4.mlp-s0", "easy-5.attn-s1"]
    plants = build_plants(tmp_path / "two", names, processes=2, say=lambda _: None)
    assert [plant.collapsed for plant in plants] == [True, True]
    assert build_plants(tmp_path / "one", names, processes=1, say=lambda _: None) == plants
