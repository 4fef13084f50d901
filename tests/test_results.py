"""Datasets survive a file, differences refuse unequal cells, files are whole or absent, and torch is not needed."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from mcinterp import results
from mcinterp.chain import Chain
from mcinterp.completions import Decoding
from mcinterp.errors import InputError
from mcinterp.lens import logit_lens
from mcinterp.prompts import Prompts
from mcinterp.sequences import teacher_force


@pytest.fixture(scope="module")
def lens(pair: Chain) -> xr.Dataset:
    """A real dataset with hostile text in it."""
    prompts = Prompts.from_texts(["<script>\n'hi'", "one"])
    return logit_lens(pair, teacher_force(pair, pair.render(prompts), Decoding(3)))


def test_a_dataset_comes_back_identical(lens: xr.Dataset, tmp_path: Path) -> None:
    again = results.load(results.save(lens, tmp_path / "lens.nc"))
    xr.testing.assert_identical(again, lens)
    assert results.provenance_of(again) == results.provenance_of(lens)


def test_results_load_without_torch(lens: xr.Dataset, tmp_path: Path) -> None:
    results.save(lens, tmp_path / "lens.nc")
    script = f"""
import sys
sys.modules["torch"] = sys.modules["transformers"] = None
from mcinterp import results
from mcinterp.landmarks import landmark_positions, onset
from mcinterp.summary.lens import prompt_entries
lens = results.load({str(tmp_path / "lens.nc")!r})
print(len(prompt_entries(lens)), onset(lens).sizes["lens"], landmark_positions(lens).sizes["prompt"])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["2", "2", "2"], done.stderr


def test_difference_is_tuned_minus_base_and_refuses_unequal_cells(lens: xr.Dataset) -> None:
    tuned, base = (lens.isel(stage=s, drop=True) for s in (1, 0))
    gap = results.difference(tuned, base)
    np.testing.assert_array_equal(gap["entropy"], tuned["entropy"] - base["entropy"])
    assert "top_token" not in gap
    with pytest.raises(InputError, match="do not cover the same cells"):
        results.difference(tuned, base.isel(layer=slice(1)))


def test_missing_files_and_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no results file"):
        results.load(tmp_path / "none.nc")
    (tmp_path / "torn.nc").write_bytes(b"CDF")
    with pytest.raises(InputError, match="cannot be read .*; run the analysis again"):
        results.load(tmp_path / "torn.nc")


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    results.write_text(tmp_path / "file", "old")

    def fail(path: str) -> None:
        Path(path).write_text("half")
        raise OSError("disk full")

    with pytest.raises(
        results.Unwritable, match="file cannot be written .disk full.; free space or give another place"
    ):
        results.write_whole(tmp_path / "file", fail)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "old"


def test_a_file_takes_its_place_only_when_all_is_ready(tmp_path: Path) -> None:
    results.write_text(tmp_path / "file", "old")
    seen: list[str] = []
    results.write_text(tmp_path / "file", "new", lambda: seen.append((tmp_path / "file").read_text()))
    assert seen == ["old"]
    assert (tmp_path / "file").read_text() == "new"


def test_json_has_null_for_missing_numbers(tmp_path: Path) -> None:
    results.write_json(tmp_path / "x.json", {"a": np.float32("nan"), "b": [1.5, float("inf")], "c": np.arange(2)})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": None, "b": [1.5, None], "c": [0, 1]}


def test_every_variable_of_the_lens_has_a_unit_and_a_definition(lens: xr.Dataset) -> None:
    assert [name for name in lens.data_vars if "units" not in lens[name].attrs] == []
