"""Weight files that are broken, incomplete or of another model: refused by the name of the file or tensor."""

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hostile_files import INDEX, WEIGHTS, copied, edit_weights, loaded, refused, sharded

from conftest import Build

UP, GATE = "model.layers.0.mlp.up_proj.weight", "model.layers.0.mlp.gate_proj.weight"


@pytest.fixture
def copy(tiny: Build, tmp_path: Path) -> Path:
    """A copy of the tiny Llama, to break."""
    return copied(tiny("llama"), tmp_path / "broken")


def with_header(file: Path, change: Callable[[dict], None]) -> None:
    """Change the header of a safetensors file and nothing else."""
    raw = file.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    entries = json.loads(raw[8 : 8 + length])
    change(entries)
    header = json.dumps(entries).encode()
    file.write_bytes(struct.pack("<Q", len(header)) + header + raw[8 + length :])


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: b"",
        lambda raw: raw[:100],
        lambda raw: raw[:-50],
        lambda raw: raw + b"xx",
        lambda raw: struct.pack("<Q", 2**62) + raw[8:],
        lambda raw: struct.pack("<Q", 0) + raw[8:],
        lambda raw: bytes(500),
    ],
    ids=["empty", "header cut", "data cut", "too long", "absurd length", "no length", "zeros"],
)
def test_a_weight_file_that_is_broken(tiny: Build, copy: Path, change: Callable[[bytes], bytes]) -> None:
    (copy / WEIGHTS).write_bytes(change((copy / WEIGHTS).read_bytes()))
    assert "its weights cannot be read ('model.safetensors': Error while deserializing" in refused(tiny, copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: h[UP].update(data_offsets=h[GATE]["data_offsets"]), "invalid offset for tensor `model.layers.0.mlp"),
        (lambda h: h[UP].update(shape=[7, 7]), "invalid shape, data type, or offset"),
        (lambda h: h[UP].update(shape=[-40, -24]), "integer `-40`, expected usize"),
        (lambda h: h[UP].update(shape=h[UP]["shape"][::-1]), f"tensor '{UP}' has shape (24, 40) and its config.json"),
        (lambda h: h[UP].update(dtype="Q9"), "unknown variant `Q9`"),
        (lambda h: h[UP].update(dtype="I32"), f"tensor '{UP}' is stored as I32 and its config.json names no quant"),
    ],
    ids=["overlap", "shape", "negative", "transposed", "dtype", "integers"],
)
def test_a_header_that_is_wrong(tiny: Build, copy: Path, change: Callable[[dict], None], message: str) -> None:
    with_header(copy / WEIGHTS, change)
    assert message in refused(tiny, copy)


def rename_all(weights: dict) -> None:
    """Give every tensor a name that no model knows."""
    for name in list(weights):
        weights[f"other.{name}"] = weights.pop(name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop(UP), f"tensor '{UP}' is missing from its weights (1 missing in all)"),
        (lambda w: w.pop("lm_head.weight"), "tensor 'lm_head.weight' is missing"),
        (rename_all, "is missing from its weights (30 missing in all)"),
        (lambda w: w.update({UP: torch.ones(3, 5)}), f"tensor '{UP}' has shape (3, 5) and its config.json wants"),
        (lambda w: w.update({UP: torch.ones(())}), f"tensor '{UP}' has shape ()"),
        (lambda w: w[UP].fill_(torch.inf), f"tensor {UP} holds NaN or infinite values"),
    ],
    ids=["missing", "no head", "other names", "other shape", "scalar", "infinite"],
)
def test_tensors_that_are_not_the_models(tiny: Build, copy: Path, change: Callable[[dict], None], message: str) -> None:
    edit_weights(copy, change)
    assert message in refused(tiny, copy)


def test_tensors_too_many_change_nothing(tiny: Build, copy: Path) -> None:
    edit_weights(copy, lambda w: w.update({"model.rotary_emb.inv_freq": torch.ones(3)}))
    pair = loaded(tiny("llama"), copy)
    assert pair.base.fingerprint == pair.tuned.fingerprint


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "model.safetensors.index.json is not JSON"),
        ("[]", "is no object with `metadata` and `weight_map`"),
        ("{}", "is no object with `metadata` and `weight_map`"),
        ('{"metadata": {}, "weight_map": []}', "has no `weight_map` from tensors to files"),
        ('{"metadata": {}, "weight_map": {"a": 3}}', "has no `weight_map` from tensors to files"),
        ('{"metadata": {}, "weight_map": {"a": "c.safetensors"}}', "names 'c.safetensors', which is not there"),
        ('{"metadata": {}, "weight_map": {"a": "../b.safetensors"}}', "which is no safetensors file of this directory"),
        ('{"metadata": {}, "weight_map": {"a": "evil.bin"}}', "which is no safetensors file of this directory"),
    ],
)
def test_an_index_that_is_wrong(tiny: Build, copy: Path, content: str, message: str) -> None:
    (sharded(copy) / INDEX).write_text(content)
    assert message in refused(tiny, copy)


def test_a_shard_that_is_gone(tiny: Build, copy: Path) -> None:
    os.remove(sharded(copy) / "b.safetensors")
    assert "names 'b.safetensors', which is not there" in refused(tiny, copy)
