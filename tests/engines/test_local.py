"""Shards in this process, one after the other, and the choice of an engine."""

from pathlib import Path

import pytest
import xarray as xr

from mcinterp.engines import ray as on_ray
from mcinterp.engines.choosing import engine_for
from mcinterp.engines.interface import Place, Shard
from mcinterp.errors import InputError
from mcinterp.run.parts import Parts


def measured(setting: str, sequences: int) -> xr.Dataset:
    """A dataset of one number."""
    return xr.Dataset({"x": ("prompt", [float(sequences)])}, {"prompt": [0]}, {"setting": setting})


@pytest.mark.parametrize("place", ["memory://some/parts", None])
def test_shards_are_written_in_order(place: str | None, tmp_path: Path) -> None:
    engine, parts = engine_for(Place(), "here", lambda: pytest.fail("loaded again")), Parts(place or str(tmp_path))
    written = list(engine.run(measured, [Shard("x-0000", 5), Shard("x-0001", 6)], parts))
    assert [each.name for each in written] == ["x-0000", "x-0001"]
    again = parts.read("x-0001", written[1].made)
    assert again is not None
    assert (again["x"].values.tolist(), again.attrs) == ([6.0], {"setting": "here"})
    assert parts.read("x-0001", written[0].made) is None
    parts.remove("x-0001")
    assert parts.read("x-0001", written[1].made) is None


def test_unknown_places_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="engine 'moon' is unknown; give one of local, ray"):
        engine_for(Place("moon"), "here", str)
    with pytest.raises(InputError, match="nowhere://x/p.nc cannot be written .*; give another place for parts"):
        Parts("nowhere://x").write("p", measured("here", 1))
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(InputError, match="Ray is not installed; run `pip install mcinterp.ray.`"):
        on_ray.connected(None)
