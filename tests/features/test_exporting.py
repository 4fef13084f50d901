"""Exported activations are those of TransformerLens, with the tokens they belong to."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from features.test_feature_comparison import TEXTS, activations
from mcinterp.chain import Chain
from mcinterp.errors import InputError
from mcinterp.features.exporting import export_activations
from mcinterp.intervene.inputs import as_sequences


@pytest.mark.parametrize(("site", "hook"), [("resid_post", "blocks.1.hook_resid_post"), ("z", "blocks.1.attn.hook_z")])
def test_every_row_is_that_of_its_token(pair: Chain, tmp_path: Path, site: str, hook: str) -> None:
    path = export_activations(pair, as_sequences(pair, TEXTS), site, 1, tmp_path / "out", skip=1, shard_tokens=20)
    header = json.loads(path.read_text())
    assert (header["hook_name"], header["d_in"], header["skipped"]) == (hook, 24, 1)
    ids = [pair.base.tokenizer(text).input_ids for text in TEXTS]
    seen: set[tuple[str, int, int]] = set()
    for each in header["files"]:
        held, stage = load_file(path.parent / each["file"]), pair.stage(each["stage"])
        assert len(held["token_ids"]) == each["tokens"] <= 20
        for row, token, sequence, column in rows(held):
            assert ids[sequence][column] == token
            known = activations(stage, TEXTS[sequence], hook)[column]
            torch.testing.assert_close(row, known, rtol=1e-5, atol=1e-5)
            seen.add((each["stage"], sequence, column))
    assert seen == {(s, i, c) for s in pair.names for i, each in enumerate(ids) for c in range(1, len(each))}


def rows(held: dict[str, torch.Tensor]):
    """Activation, token id, sequence and column of every row of a file."""
    names = ("token_ids", "sequence", "column")
    yield from zip(held["activations"], *(held[name].tolist() for name in names), strict=True)


@pytest.mark.parametrize("site", ["q", "k", "v", "mlp_post"])
def test_the_header_says_the_width_that_the_files_have(pair: Chain, tmp_path: Path, site: str) -> None:
    path = export_activations(pair, as_sequences(pair, TEXTS), site, 0, tmp_path / "out")
    header = json.loads(path.read_text())
    held = load_file(path.parent / header["files"][0]["file"])
    assert held["activations"].shape[1] == header["d_in"]


def test_one_stage_and_token_ids_in_half_precision(pair: Chain, tmp_path: Path) -> None:
    path = export_activations(pair.tuned, [(0, 5, 6), (0, 7)], "mlp_post", 2, tmp_path / "out", dtype="float16")
    header = json.loads(path.read_text())
    held = load_file(path.parent / header["files"][0]["file"])
    assert list(header["stages"]) == ["tuned"]
    assert held["activations"].dtype == torch.float16
    assert held["activations"].shape == (5, 40)
    assert held["token_ids"].tolist() == [0, 5, 6, 0, 7]


@pytest.mark.parametrize(
    ("given", "options", "said"),
    [
        (("pattern", 1), {}, "site 'pattern' has no vector a token"),
        (("resid_post", 3), {}, "layer 3 was asked for and the model has 0 to 2"),
        (("resid_post", 1), {"dtype": "int8"}, "dtype 'int8' is unknown; give one of float32"),
        (("resid_post", 1), {"shard_tokens": 0}, "got shard_tokens=0 and skip=0"),
        (("resid_post", 1), {"skip": 99}, "no token is left of 4 sequences without the first 99"),
    ],
)
def test_what_cannot_be_exported_is_refused(
    pair: Chain, tmp_path: Path, given: tuple, options: dict, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        export_activations(pair, as_sequences(pair, TEXTS), *given, tmp_path / "out", **options)


def test_files_are_never_mixed(pair: Chain, tmp_path: Path) -> None:
    (tmp_path / "old").write_text("")
    with pytest.raises(InputError, match="is not empty; give a new one"):
        export_activations(pair, as_sequences(pair, TEXTS), "resid_post", 1, tmp_path)
