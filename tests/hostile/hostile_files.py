"""Checkpoints of real format with one thing wrong, and the rule that all of them answer to."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from mcinterp.chain import Chain, load_pair
from mcinterp.errors import InputError

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
MOST = 500


def copied(folder: Path, target: Path) -> Path:
    """A copy of a checkpoint, to break."""
    shutil.copytree(folder, target)
    return target


def edit_json(file: Path, **changes: Any) -> None:
    """Change entries of a JSON file; None takes an entry out."""
    entries = {**json.loads(file.read_text(encoding="utf-8")), **changes}
    file.write_text(json.dumps({k: v for k, v in entries.items() if v is not None}), encoding="utf-8")


def edit_weights(folder: Path, change: Callable[[dict], None]) -> None:
    """Change a checkpoint's tensors."""
    weights = load_file(folder / WEIGHTS)
    change(weights)
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})


def sharded(folder: Path) -> Path:
    """The checkpoint in two shards with an index."""
    weights = load_file(folder / WEIGHTS)
    names = sorted(weights)
    halves = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, part in halves.items():
        save_file({name: weights[name] for name in part}, folder / file, metadata={"format": "pt"})
    os.remove(folder / WEIGHTS)
    places = {name: file for file, part in halves.items() for name in part}
    (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    return folder


def loaded(base: Path | str, tuned: Path | str, **options: Any) -> Chain:
    """A pair with its weights in memory."""
    pair = load_pair(str(base), str(tuned), **options)
    for stage in pair.stages:
        assert stage.bridge is not None
    return pair


def one_sentence(message: str) -> str:
    """The message itself, which is one line of characters that can be shown, and not long."""
    assert message.isprintable(), message
    assert 10 < len(message) < MOST, message
    assert message.endswith("."), message
    return message


def refusal(call: Callable[[], Any]) -> str:
    """The sentence that a call is refused with."""
    with pytest.raises(InputError) as caught:
        call()
    return one_sentence(str(caught.value))


class Marker:
    """A pickle that leaves a file when it is read."""

    def __init__(self, file: Path) -> None:
        self.file = str(file)

    def __reduce__(self) -> tuple:
        return (open, (self.file, "w"))


def refused(build: Callable[..., Path], broken: Path | str, **options: Any) -> str:
    """The sentence for a tiny Llama's pair whose second checkpoint is broken."""
    return refusal(lambda: loaded(build("llama"), broken, **options))
