"""A checkpoint's digest follows its content, without loading a weight."""

import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from conftest import Build
from mcinterp.chain import Chain
from mcinterp.checkpoints import parse_checkpoint
from mcinterp.identity import digest, measuring_version, prompts_digest
from mcinterp.prompts import Prompts


def test_the_digest_follows_weights_configuration_and_tokenizer(tiny: Build, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(tiny("llama"), folder)
    first = digest(parse_checkpoint(str(folder)))
    assert digest(parse_checkpoint(str(tiny("llama")))) == first
    (folder / "notes.md").write_text("nothing that is read")
    assert digest(parse_checkpoint(str(folder))) == first
    seen = {first}
    weights = load_file(folder / "model.safetensors")
    name = next(iter(weights))
    weights[name].view(-1)[-1] += 1
    save_file(weights, folder / "model.safetensors")
    seen.add(digest(parse_checkpoint(str(folder))))
    for file in ("config.json", "tokenizer.json"):
        (folder / file).write_text((folder / file).read_text() + " ")
        seen.add(digest(parse_checkpoint(str(folder))))
    assert len(seen) == 4


def test_a_hub_checkpoint_is_its_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = parse_checkpoint("org/name@v1")
    digests = set()
    for commit in ("abc", "def"):
        monkeypatch.setattr(type(checkpoint), "commit", property(lambda self, commit=commit: commit))
        digests |= {digest(checkpoint), digest(parse_checkpoint("org/name@v2"))}
    assert len(digests) == 4


def test_prompts_differ_by_text_group_and_tokens(pair: Chain) -> None:
    one = pair.render(Prompts.from_texts(["a", "b"]))
    other = pair.render(Prompts.from_texts(["a", "c"]))
    grouped = pair.render(Prompts.from_texts(["a", "b"], template=["x", "x"]))
    assert len({prompts_digest(each) for each in (one, other, grouped)}) == 3
    assert prompts_digest(one) == prompts_digest(pair.render(Prompts.from_texts(["a", "b"])))


def test_the_measuring_version_is_one(pair: Chain) -> None:
    assert measuring_version() == measuring_version()
    assert len(measuring_version()) == 64
