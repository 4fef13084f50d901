"""Folders of SAELens: both layouts of its configuration, what its weights may hold, and what is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from features.dictionaries import sparse
from mcinterp.errors import InputError
from mcinterp.features.saelens import load_sae
from mcinterp.features.saving import save_sae

CASES = Path(__file__).parent / "saelens"


def changed(folder: Path, name: str, tensors: dict[str, Any] | None = None, **settings: Any) -> Path:
    """A copy of a case with other settings and tensors; None takes one away."""
    shutil.copytree(CASES / name, folder)
    config = json.loads((folder / "cfg.json").read_text()) | settings
    (folder / "cfg.json").write_text(json.dumps({k: v for k, v in config.items() if v is not None}))
    held = load_file(folder / "sae_weights.safetensors") | (tensors or {})
    save_file({k: v for k, v in held.items() if v is not None}, folder / "sae_weights.safetensors")
    return folder


@pytest.mark.parametrize("name", ["standard", "topk"])
def test_the_layout_of_version_5_is_the_same_autoencoder(name: str, tmp_path: Path) -> None:
    folder = changed(tmp_path / "old", name)
    (folder / "cfg.json").write_bytes((CASES / name / "cfg-5.json").read_bytes())
    old, new = load_sae(folder), load_sae(CASES / name)
    assert "metadata" not in json.loads((folder / "cfg.json").read_text())
    assert (old.fingerprint, old.activation, old.k) == (new.fingerprint, new.activation, new.k)
    assert (old.hook, old.site, old.layer) == ("blocks.4.hook_resid_post", "resid_post", 4)


def test_names_of_the_first_versions_are_read(tmp_path: Path) -> None:
    folder = changed(tmp_path / "old", "standard", metadata=None, hook_point="blocks.3.attn.hook_z", architecture=None)
    sae = load_sae(folder)
    assert (sae.site, sae.layer, sae.activation) == ("z", 3, "relu")


@pytest.mark.parametrize("name", ["standard", "topk-rescaled", "jumprelu", "gated"])
def test_what_is_saved_is_read_again(name: str, tmp_path: Path) -> None:
    one = load_sae(CASES / name)
    two = load_sae(save_sae(one, tmp_path / "again"))
    assert one.fingerprint == two.fingerprint
    kept = ("activation", "site", "layer", "k", "apply_b_dec_to_input", "normalize_activations")
    assert [getattr(one, field) for field in kept] == [getattr(two, field) for field in kept]


def test_a_threshold_of_training_is_that_of_every_feature(tmp_path: Path) -> None:
    tensors = {"threshold": None, "topk_threshold": torch.tensor(1.5, dtype=torch.float64)}
    folder = changed(tmp_path / "run", "batchtopk", tensors, architecture="batchtopk", k=3.0)
    ours, known = load_sae(folder), load_file(CASES / "batchtopk" / "expected.safetensors")
    assert ours.activation == "batchtopk"
    torch.testing.assert_close(ours.encode(known["inputs"]), known["activations"], rtol=1e-5, atol=1e-5)


def test_an_input_scale_is_folded_in(tmp_path: Path) -> None:
    folder = changed(tmp_path / "scaled", "standard", normalize_activations="expected_average_only_in")
    with pytest.raises(
        InputError, match="expected_average_only_in, whose factor is in no file; give it as input_scale="
    ):
        load_sae(folder)
    plain, known = load_sae(CASES / "standard"), load_file(CASES / "standard" / "expected.safetensors")
    found = load_sae(folder, input_scale=4.0)
    torch.testing.assert_close(found.encode(known["inputs"] / 4), known["activations"], rtol=1e-5, atol=1e-5)
    by_hand = plain.decode(known["activations"]) / 4
    torch.testing.assert_close(found.decode(known["activations"]), by_hand, rtol=1e-5, atol=1e-5)
    with pytest.raises(InputError, match="input_scale 0.0 is no factor"):
        load_sae(folder, input_scale=0.0)


@pytest.mark.parametrize(
    ("tensors", "settings", "said"),
    [
        ({}, {"architecture": "temporal"}, "architecture 'temporal'; those that can be read are standard, topk"),
        ({}, {"activation_fn_str": "tanh-relu"}, "says the activation 'tanh-relu'; relu and topk can be read"),
        ({}, {"normalize_activations": "covariance_whitening"}, "normalisation 'covariance_whitening'; those that can"),
        ({}, {"architecture": "topk"}, "is of a topk autoencoder and says no number k"),
        ({}, {"architecture": "jumprelu"}, "of a jumprelu autoencoder and holds no threshold"),
        ({}, {"architecture": "gated"}, "of a gated autoencoder and holds no b_gate"),
        ({}, {"metadata": {"hook_name": "blocks.4.hook_tea"}}, "says the hook 'blocks.4.hook_tea'; the places that"),
        ({"W_dec": None}, {}, "holds no tensor W_dec"),
        ({"W_dec": torch.zeros(3)}, {}, "W_dec of .* is no matrix"),
        ({"scaling_factor": torch.full((12,), 2.0)}, {}, "fine-tuning scale .* not folded into its decoder"),
    ],
)
def test_what_cannot_be_read_is_refused(tensors: dict, settings: dict, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        load_sae(changed(tmp_path / "odd", "standard", tensors, **settings))


def test_folders_without_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cfg.json cannot be read .*give a folder that SAELens has saved"):
        load_sae(tmp_path)
    (tmp_path / "cfg.json").write_text("[]")
    with pytest.raises(InputError, match="is no table of settings"):
        load_sae(tmp_path)
    (tmp_path / "cfg.json").write_text("{}")
    with pytest.raises(InputError, match=r"sae_weights.safetensors cannot be read"):
        load_sae(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be made"):
        save_sae(sparse(), tmp_path / "file" / "below")
