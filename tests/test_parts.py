"""Parts of a whole over prompts: means, shares of the mean total, and their order."""

import numpy as np
import pytest
import xarray as xr

from mcinterp.parts import largest_parts, mean_parts


@pytest.fixture
def parts() -> xr.Dataset:
    """Two stages, four prompts of two templates, three parts that sum to the total."""
    values = np.arange(24.0).reshape(2, 4, 3) - 5
    return xr.Dataset(
        {"attribution": (("stage", "prompt", "component"), values), "total": (("stage", "prompt"), values.sum(axis=2))},
        coords={
            "stage": ["sft", "rl"], "template": ("prompt", list("aabb")), "component": ["embed", "0.mlp", "norm"],
            "site": ("component", ["embed", "mlp", "norm"]), "layer": ("component", [-1, 0, -1]),
        },
    )  # fmt: skip


def test_means_and_shares(parts: xr.Dataset) -> None:
    found = mean_parts(parts)
    np.testing.assert_allclose(found["mean"], parts["attribution"].mean("prompt"))
    np.testing.assert_allclose(found["share"].sum("component"), 1.0, rtol=1e-6)
    np.testing.assert_allclose(found["mean_total"], parts["total"].mean("prompt"))
    assert (found["low"] < found["mean"]).all()
    assert (found["high"] > found["mean"]).all()


def test_no_share_of_a_total_near_nothing(parts: xr.Dataset) -> None:
    found = mean_parts(parts.assign(total=parts["total"] * 0 + 0.01))
    assert found["share"].isnull().all()


def test_the_largest_come_first(parts: xr.Dataset) -> None:
    found = largest_parts(mean_parts(parts).sel(stage="rl"), 2)
    assert [part["component"] for part in found] == ["norm", "0.mlp"]
    assert (found[1]["site"], found[1]["layer"]) == ("mlp", 0)
    assert found[0]["mean"] == pytest.approx(float(parts["attribution"].sel(stage="rl", component="norm").mean()))
