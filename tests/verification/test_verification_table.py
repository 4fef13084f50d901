"""Means, intervals and regained shares of a proof, from made-up values."""

import numpy as np
import pytest
import xarray as xr

from mcinterp.results import load, save
from mcinterp.verification.table import BY_PROMPT, REGAINED, verification_table

EDITS = ["tuned", "base", "1 site", "random 1", "temperature"]


def made(seed: int = 0, *, controls: bool = True) -> xr.Dataset:
    random = np.random.default_rng(seed)
    data = {name: (("edit", "prompt"), random.random((5, 7)).astype(np.float32)) for name in BY_PROMPT}
    coords = {
        "edit": EDITS,
        "kind": ("edit", ["tuned", "base", "sites", "random", "temperature"]),
        "prompt": np.arange(7),
        "template": ("prompt", list("aabbcde")),
        "part": ("prompt", ["located"] * 4 + ["held_out"] * 3),
    }
    if controls:
        data |= {
            name: (("edit", "control"), random.random((5, 3)).astype(np.float32))
            for name in ("control_kl", "control_agreement")
        }
        coords |= {"control": np.arange(3), "control_template": ("control", list("xyz"))}
    found = xr.Dataset(data, coords=coords, attrs={"chosen": "1 site"})
    found["entropy"].loc[{"edit": "base"}] += 2
    found["attractor_log_odds"].loc[{"edit": "base"}] -= 5
    found["distinct"].loc[{"edit": "random 1"}] = np.nan
    return found


def test_means_and_shares_by_part() -> None:
    found, table = made(), verification_table(made())
    assert table["entropy"].dims == ("part", "edit")
    for part in ("located", "held_out"):
        mean = found.sel(prompt=found["part"] == part).mean("prompt")
        for name in BY_PROMPT:
            np.testing.assert_allclose(table[name].sel(part=part), mean[name], rtol=1e-5)
        for name, of in REGAINED.items():
            gap = mean[of].sel(edit="base") - mean[of].sel(edit="tuned")
            wanted = (mean[of] - mean[of].sel(edit="tuned")) / gap.where(abs(gap) >= 0.1)
            np.testing.assert_allclose(table[name].sel(part=part), wanted, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(table["control_kl"], found["control_kl"].mean("control"), rtol=1e-5)
    assert table["distinct"].sel(edit="random 1").isnull().all()
    assert (table.attrs["chosen"], table["kind"].sel(edit="1 site")) == ("1 site", "sites")


def test_the_ends_are_exact_and_intervals_hold_the_mean() -> None:
    table = verification_table(made())
    for end in ("", "_low", "_high"):
        assert (table[f"regained{end}"].sel(edit="tuned") == 0).all()
        np.testing.assert_allclose(table[f"regained{end}"].sel(edit="base"), 1, atol=1e-6)
    for name in ("entropy", "control_kl", "log_odds_regained"):
        low, high = table[f"{name}_low"].values, table[f"{name}_high"].values
        assert ((low <= table[name].values + 1e-6) & (table[name].values <= high + 1e-6)).all()
    assert (table["entropy_low"] < table["entropy_high"]).all()


def test_one_template_has_no_interval_and_nothing_lost_no_share() -> None:
    found = made(controls=False).isel(prompt=slice(0, 2))
    table = verification_table(found)
    assert "control_kl" not in table
    assert table["entropy_low"].isnull().all()
    assert table["entropy"].notnull().all()
    found["entropy"].loc[{"edit": "base"}] = found["entropy"].sel(edit="tuned") + 0.05
    assert verification_table(found)["regained"].isnull().all()


def test_figures_say_their_units_and_come_back_from_disk(tmp_path) -> None:
    table = verification_table(made(), draws=20)
    assert [name for name in table.data_vars if "units" not in table[name].attrs] == []
    assert table["regained_low"].attrs["long_name"].endswith("lower end of its 95 % interval")
    assert load(save(table, tmp_path / "table.nc")).equals(table)


@pytest.mark.parametrize("seed", [3, 4])
def test_the_seed_fixes_the_intervals(seed: int) -> None:
    xr.testing.assert_identical(verification_table(made(), seed=seed), verification_table(made(), seed=seed))
