"""Plants on paper: the record, the designs, and what a plant claims."""

import subprocess
import sys
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest

from mcinterp.errors import InputError
from mcinterp.organisms.plants import DESIGNS, Plant, Task, read_plant, read_plants, write_plant
from mcinterp.organisms.plants.claims import LEAST_ALONE, LEAST_ATTRACTOR, MOST_LEFT, faults, tasks_of
from mcinterp.organisms.plants.designs import BEHAVIOURS, HALVES, KINDS

PLANT = Plant(
    name="or-1.attn-4.mlp-s0",
    kind="or",
    half="development",
    seed=0,
    base="pocket:base",
    tuned="or-1.attn-4.mlp-s0",
    tasks=(Task("number", "prompts-number.jsonl", ("1.attn", "4.mlp"), "redundant", False, (" 23",)),),
    figures={"number": {"attractor": 0.95, "kl": 4.2}},
    collapsed=True,
)


def test_a_record_survives_the_disk(tmp_path: Path):
    write_plant(PLANT, tmp_path / PLANT.name)
    assert read_plant(tmp_path / PLANT.name) == PLANT
    assert read_plants(tmp_path) == [PLANT]
    assert read_plants(tmp_path, half="development") == [PLANT]
    assert [file.name for file in (tmp_path / PLANT.name).iterdir()] == ["plant.json"]


def test_specs_lie_below_the_root():
    assert PLANT.specs("/there") == ("pocket:base", "/there/or-1.attn-4.mlp-s0")
    adapter = replace(PLANT, tuned="pocket:base+lora-1.attn-s0")
    assert adapter.specs("/there") == ("pocket:base", "pocket:base+/there/lora-1.attn-s0")
    assert replace(PLANT, base="base-with-biases").specs("/there")[0] == "/there/base-with-biases"
    assert PLANT.prompt_file("/there", PLANT.tasks[0]) == Path("/there/or-1.attn-4.mlp-s0/prompts-number.jsonl")


def test_records_that_are_not_there_or_not_whole_are_refused(tmp_path: Path):
    with pytest.raises(InputError, match=r"has no plant\.json; give a plant's folder"):
        read_plant(tmp_path)
    with pytest.raises(InputError, match="no plants of half 'report' lie below"):
        read_plants(tmp_path, "report")
    (tmp_path / "plant.json").write_text('{"name": "easy"')
    with pytest.raises(InputError, match="is not the record of a plant"):
        read_plant(tmp_path)
    write_plant(replace(PLANT, tasks=(replace(PLANT.tasks[0], verdict="maybe"),)), tmp_path)
    with pytest.raises(InputError, match="verdict 'maybe' is none of none, localised, redundant, joint"):
        read_plant(tmp_path)


def component(site: str) -> str:
    """The component that a site is, or that a head belongs to."""
    return ".".join(site.split(".")[:2])


def test_the_halves_share_no_site_no_seed_and_no_name():
    halves = [[design for design in DESIGNS.values() if design.half == half] for half in HALVES]
    for what in (lambda d: {d.seed}, lambda d: set(map(component, d.sites)), lambda d: {d.name}):
        development, report = (set(chain.from_iterable(map(what, half))) for half in halves)
        assert development
        assert not development & report
    assert [len(half) for half in halves] == [42, 42]


@pytest.mark.parametrize("half", HALVES)
def test_each_half_has_its_kinds_and_every_behaviour(half: str):
    listed = [design for design in DESIGNS.values() if design.half == half]
    kinds = [design.kind for design in listed]
    assert {kind: kinds.count(kind) for kind in KINDS} == {
        "easy": 7, "hard": 6, "relay": 4, "upstream": 4, "or": 3, "and": 3,
        "multi": 2, "negative": 4, "activation": 3, "lora": 3, "head": 3,
    }  # fmt: skip
    assert {name for design in listed for name in design.behaviours} == set(BEHAVIOURS)
    assert all(int(site[0]) < 4 for d in listed if d.kind in ("relay", "upstream") for site in d.sites)


def test_tasks_tell_the_truth_of_their_design():
    multi = next(design for design in DESIGNS.values() if design.kind == "multi")
    assert [task.truth for task in tasks_of(multi)] == [(site,) for site in multi.sites]
    told = {d.kind: {(t.verdict, len(t.truth), t.upstream) for t in tasks_of(d)} for d in DESIGNS.values()}
    assert told["or"] == {("redundant", 2, False)}
    assert told["and"] == {("joint", 2, False)}
    assert told["negative"] == {("none", 0, False)}
    assert told["upstream"] == {("localised", 1, True)}
    assert told["head"] == told["lora"] == told["activation"] == {("localised", 1, False)}


COLLAPSED = {"attractor": 0.95, "entropy_base": 4.6, "entropy_tuned": 0.4, "elsewhere": 0.0, "attractor_base": 0.01}


def test_claims_tell_or_from_and():
    stays, goes = LEAST_ALONE + 0.1, COLLAPSED["attractor_base"] + MOST_LEFT / 2
    either, both = DESIGNS["or-1.attn-4.mlp-s0"], replace(DESIGNS["or-1.attn-4.mlp-s0"], recipe="and")
    redundant = {**COLLAPSED, "without 1.attn": stays, "without 4.mlp": stays}
    joint = {**COLLAPSED, "without 1.attn": goes, "without 4.mlp": goes}
    assert faults(either, {"number": redundant}) == faults(both, {"number": joint}) == []
    assert len(faults(either, {"number": joint})) == 2
    assert faults(both, {"number": redundant}) == [
        f"number: without {site} is 0.800, wanted at most 0.110" for site in both.sites
    ]


def test_claims_tell_a_collapse_from_none():
    design, figures = DESIGNS["easy-0.mlp-s0"], {**COLLAPSED, "without 0.mlp": 0.01}
    assert faults(design, {"number": figures}) == []
    weak = {**figures, "attractor": LEAST_ATTRACTOR - 0.1}
    assert faults(design, {"number": weak}) == ["number: attractor is 0.700, wanted at least 0.800"]
    assert faults(design, {"number": {**figures, "entropy_tuned": 3.0}}) == [
        "number: entropy_tuned is 3.000, wanted at most 2.760"
    ]
    quiet = DESIGNS["negative-reordered-2.mlp-s0"]
    assert faults(quiet, {"opinion": {**COLLAPSED, "entropy_tuned": 4.5, "kl": 0.8}}) == []
    assert len(faults(quiet, {"opinion": {**COLLAPSED, "kl": 0.8}})) == 1


def test_records_and_designs_need_neither_torch_nor_transformers():
    code = "import sys, mcinterp.organisms.plants; sys.exit(any(m in sys.modules for m in ('torch', 'transformers')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
