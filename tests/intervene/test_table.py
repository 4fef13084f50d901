"""What a patch returns: axes, labels, units, stages by name, and the same again from a file."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from patching_reference import NATS, activations, encoded, log_probs, measures, patched

import mcinterp
from mcinterp.chain import Chain
from mcinterp.prompts import Prompts
from mcinterp.results import load, provenance_of, save, token_text
from mcinterp.sequences import with_completions

TEXTS = ["Are bugs real?", "abc", "Pick a number:", "de", "fghij"]
CELL = ("prompt", "direction", "site", "layer")


@pytest.fixture(scope="module")
def result(chain: Chain) -> xr.Dataset:
    """A patch with every axis, all of different sizes."""
    rendered = chain.render(Prompts.from_texts(TEXTS))
    sequences = with_completions(chain, rendered, [(5, 6)] * len(TEXTS))
    return mcinterp.patch(
        chain, sequences, sites=["z", "pattern"], layers=[0, 1, 2], heads="each", positions=range(-4, 2),
        each_position=True, read_at=[0, 1], directions=["base_to_later", "tuned_to_base", "later_to_base"],
    )  # fmt: skip


def test_axes_are_those_that_were_asked_for(result: xr.Dataset) -> None:
    axes = (*CELL, "head", "position", "read_at")
    assert dict(result.sizes) | {"vocabulary": 0} == {
        "prompt": 5, "direction": 3, "site": 2, "layer": 3, "head": 4, "position": 6, "read_at": 2, "control": 3,
        "pair": 1, "vocabulary": 0,
    }  # fmt: skip
    for name in (*NATS, "top_token"):
        assert result[name].dims == axes
        assert result[f"{name}_control"].dims == ("control", *axes)
        for end in ("donor", "recipient"):
            assert result[f"{name}_{end}"].dims == ("prompt", "direction", "read_at")
        assert result[name].dtype == (np.int32 if name == "top_token" else np.float32)
    assert result["entropy_recovery"].dims == axes
    assert result["entropy_recovery_missing"].dims == ("prompt", "direction", "read_at")
    assert result["entropy_interaction"].dims == ("prompt", "pair", "layer", "read_at")
    assert result["attractor"].dims == ("prompt", "direction", "read_at")


def test_axes_that_were_not_asked_for_are_left_out(pair: Chain) -> None:
    bare = mcinterp.patch(pair, TEXTS, controls=False, interaction=False)
    assert bare["entropy"].dims == CELL
    assert set(bare.dims) == {*CELL, "vocabulary"}
    assert bare["entropy_donor"].dims == ("prompt", "direction")
    assert not [name for name in bare.data_vars if str(name).endswith(("_control", "_interaction"))]
    alone = mcinterp.patch(pair, TEXTS[:1], sites="z", layers=1, directions=["base_to_tuned"])
    assert alone["entropy"].shape == (1, 1, 1, 1)
    assert not [name for name in alone.data_vars if str(name).endswith("_interaction")]


def test_labels_are_texts_stages_and_tokens(chain: Chain, result: xr.Dataset) -> None:
    assert result["text"].values.tolist() == TEXTS
    assert result["direction"].values.tolist() == ["base_to_later", "tuned_to_base", "later_to_base"]
    assert result["donor_stage"].values.tolist() == ["base", "tuned", "later"]
    assert result["recipient_stage"].values.tolist() == ["later", "base", "base"]
    assert result["position"].values.tolist() == [-4, -3, -2, -1, 0, 1]
    assert result["control"].values.tolist() == ["noop", "random", "shuffled"]
    assert result["pair"].values.tolist() == ["base|later"]
    used = {int(i) for i in np.unique(result["top_token"]) if i >= 0}
    assert used <= set(token_text(result))
    assert token_text(result)[int(result["attractor"][0, 0, 0])] == chain.base.tokenizer.convert_ids_to_tokens(
        int(result["attractor"][0, 0, 0])
    )


def test_every_variable_has_a_unit_and_the_result_says_how_it_was_made(result: xr.Dataset) -> None:
    assert {
        name: result[name].attrs.get("units") for name in result.data_vars if not result[name].attrs.get("units")
    } == {}
    assert result["entropy_control"].attrs["units"] == "nats"
    assert result["kl_to_donor_recovery"].attrs["units"] == "share"
    assert result.attrs["engine"] == "fast"
    assert result.attrs["noise_floor"] <= 1e-5
    record = provenance_of(result)
    assert [each["name"] for each in record["checkpoints"]] == ["base", "tuned", "later"]
    assert (record["analysis"], record["donor"], record["window"]) == ("patch", "same", 1)


def test_a_result_is_the_same_from_a_file(result: xr.Dataset, tmp_path: Path) -> None:
    again = load(save(result, tmp_path / "patch.nc"))
    xr.testing.assert_equal(again, result)
    assert {name: again[name].attrs for name in again.data_vars} == {n: result[n].attrs for n in result.data_vars}
    assert again.attrs == result.attrs


def test_stages_of_a_chain_are_told_apart(chain: Chain) -> None:
    directions = ["base_to_later", "tuned_to_base", "later_to_tuned", "tuned_to_later"]
    ends = {"base_to_later": (0, 2), "tuned_to_base": (1, 0), "later_to_tuned": (2, 1), "tuned_to_later": (1, 2)}
    options: dict[str, Any] = {"sites": ["attn_out"], "layers": 1, "directions": directions}
    result = mcinterp.patch(chain, TEXTS, **options)
    for prompt, text in enumerate(TEXTS):
        ids = encoded(chain, text)
        clean = [log_probs(stage, ids)[-1] for stage in chain.stages]
        for direction, (donor, recipient) in ends.items():
            given = activations(chain.stages[donor], ids)
            q = patched(chain.stages[recipient], ids, given, ["attn_out"], [1], [len(ids) - 1])[-1]
            attractor = int(clean[max(donor, recipient)].argmax())
            cell = result.isel(prompt=prompt, site=0, layer=0).sel(direction=direction)
            for name, value in measures(q, clean[donor], clean[recipient], clean[0], attractor).items():
                assert float(cell[name]) == pytest.approx(value, abs=1e-4), (name, direction)
    assert result["pair"].values.tolist() == ["tuned|later"]
