"""What checkpoints take is estimated before anything loads, and decides how they are held."""

import json
import logging
from pathlib import Path

import pytest
import torch

import mcinterp
from conftest import Build
from mcinterp.chain import load_chain, load_pair
from mcinterp.checkpoints import parse_checkpoint
from mcinterp.errors import InputError
from mcinterp.placement import memory
from mcinterp.placement.memory import Estimate, Need, estimated, need_of


def test_the_estimate_is_what_the_weights_take(tiny: Build) -> None:
    chain = load_pair(str(tiny("llama")), str(tiny("llama", "tuned")))
    for stage in chain.stages:
        need = need_of(stage.checkpoint, "cpu", stage.dtype)
        model = stage.bridge.original_model
        assert need.total == sum(p.numel() * p.element_size() for p in model.parameters())
        layer = sum(p.numel() * p.element_size() for p in stage.bridge.blocks[0].parameters())
        assert need.layer == layer
        assert need.outside == need.total - stage.n_layers * layer


def test_half_precision_takes_half(tiny: Build) -> None:
    checkpoint = parse_checkpoint(str(tiny("gemma2")))
    whole, half = (need_of(checkpoint, "cpu", dtype) for dtype in (torch.float32, torch.bfloat16))
    assert (half.total, half.layer) == (whole.total / 2, whole.layer / 2)


@pytest.mark.parametrize(("limit", "chosen"), [(40.0, "together"), (20.0, "one"), (8.0, "stream"), (0.5, "stream")])
def test_the_first_placement_that_fits_is_chosen(
    tiny: Build, monkeypatch: pytest.MonkeyPatch, limit: float, chosen: str
) -> None:
    big = Need("big", "cpu", total=14 * 10**9, outside=10**9, layer=5 * 10**8)
    monkeypatch.setattr(memory, "need_of", lambda *_: big)
    checkpoints = [parse_checkpoint(str(tiny("llama")))] * 2
    found = estimated(checkpoints, ["cpu"] * 2, [torch.float32] * 2, memory=limit)
    assert found.placement == chosen
    assert found.peak()["cpu"] == {"together": 29.5e9, "one": 16.5e9, "stream": 5.5e9}[chosen]


def test_devices_are_counted_apart() -> None:
    needs = (Need("base", "cuda:0", 10, 2, 1), Need("tuned", "cuda:1", 20, 4, 2))
    found = Estimate(needs, {"cuda:0": 10**12, "cuda:1": 10**12}, "together", forced=True)
    assert [found.peak()[device] - memory.WORKING for device in ("cuda:0", "cuda:1")] == [10, 20]


def test_the_estimate_is_said_before_anything_loads(tiny: Build, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="mcinterp")
    chain = load_chain([str(tiny("llama")), str(tiny("llama", "tuned"))], memory=3.0, lazy=True)
    assert "held together (chosen)" in caplog.text
    assert "3.00 GB on cpu" in caplog.text
    assert not any("bridge" in stage.__dict__ for stage in chain.stages), "weights were read"


@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan")])
def test_a_limit_that_is_none_is_refused(tiny: Build, limit: float) -> None:
    with pytest.raises(InputError, match="positive"):
        load_chain([str(tiny("llama")), str(tiny("llama", "tuned"))], memory=limit)


def test_an_unknown_placement_is_refused(tiny: Build) -> None:
    with pytest.raises(InputError, match="together, one, stream"):
        load_chain([str(tiny("llama")), str(tiny("llama", "tuned"))], placement="sideways")


def test_a_control_groups_limit_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "CONTROL_GROUP", tmp_path)
    assert memory.unclaimed_bytes() > 10**15
    (tmp_path / "memory.max").write_text("5000\n")
    (tmp_path / "memory.current").write_text("2000\n")
    assert memory.unclaimed_bytes() == 3000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.unclaimed_bytes() > 10**15


def test_a_device_map_on_cpu_and_disk_gives_the_same_numbers(tiny: Build, tmp_path: Path) -> None:
    file = tmp_path / "map.json"
    places = {"model.embed_tokens": "cpu", "model.rotary_emb": "cpu", "model.norm": "cpu", "lm_head": "cpu"}
    file.write_text(json.dumps(places | {"model.layers.0": "cpu", "model.layers.1": "disk", "model.layers.2": "disk"}))
    names = (str(tiny("llama")), str(tiny("llama", "tuned")))
    whole, mapped = load_pair(*names), load_pair(*names, device=str(file))
    tokens = torch.tensor([[3, 4, 5, 6]])
    with torch.inference_mode():
        for one, other in zip(whole.stages, mapped.stages, strict=True):
            assert torch.equal(one.bridge(tokens), other.bridge(tokens))
    assert mapped.base.device == "cpu"


def test_a_broken_device_map_is_refused(tiny: Build, tmp_path: Path) -> None:
    names = (str(tiny("llama")), str(tiny("llama", "tuned")))
    for text in ("{", "[]", '{"model": [1]}'):
        file = tmp_path / "map.json"
        file.write_text(text)
        with pytest.raises(InputError, match="device map"):
            load_pair(*names, device=str(file))
    with pytest.raises(InputError, match="device map"):
        load_pair(*names, device=str(tmp_path / "none.json"))


def test_weights_that_are_read_late_take_part_in_gradients(tiny: Build) -> None:
    prompts = mcinterp.Prompts.from_texts(["yes or no", "Are bugs real?"])
    found = []
    for lazy in (False, True):
        chain = load_chain([str(tiny("llama")), str(tiny("llama", "tuned"))], lazy=lazy)
        completed = mcinterp.teacher_force(chain, chain.render(prompts), mcinterp.Decoding(2))
        found.append(mcinterp.update_attribution(chain, completed, nodes=2)["attribution"])
    assert (found[0] == found[1]).all()
