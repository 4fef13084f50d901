"""Whether two runs hold the same, to the last bit."""

from pathlib import Path

from mcinterp.results import load


def assert_same_runs(one: Path, other: Path) -> None:
    """The same analyses with the same values and provenance, and the same summary, letter by letter."""
    names = {path.name for path in one.glob("*.nc")}
    assert names == {path.name for path in other.glob("*.nc")}
    for name in sorted(names):
        left, right = load(one / name), load(other / name)
        assert left.attrs["provenance"] == right.attrs["provenance"]
        assert list(left.variables) == list(right.variables)
        for key in left.variables:
            here, there = left.variables[key].values, right.variables[key].values
            assert (here.dtype, here.shape) == (there.dtype, there.shape), f"{name}: {key}"
            same = here.tolist() == there.tolist() if here.dtype == object else here.tobytes() == there.tobytes()
            assert same, f"{name}: {key}"
    assert (one / "summary.json").read_text() == (other / "summary.json").read_text()
