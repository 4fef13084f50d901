"""Every dataset has one picture: all analyses are known, each is drawn from real data, and looks as it did.

A snapshot is a picture's specification without its data: columns in place of rows, and # in place of numbers that come
from data. `pytest tests/show/test_pictures.py --snapshot-update` accepts what is drawn now.
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import pytest
import vl_convert
import xarray as xr
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.json import JSONSnapshotExtension

import mcinterp
from mcinterp import show, statistics
from mcinterp.chain import Chain, load_chain
from mcinterp.errors import InputError
from mcinterp.results import provenance_of, with_provenance
from mcinterp.show import theme
from show.every_dataset import PROMPTS, Every

ROOT = Path(mcinterp.__file__).parent
NAMED = re.compile(r"""(?:\banalysis=|"analysis":\s*)"(\w+)\"""")
TOGETHER = re.compile(r"""\btogether\((?:[^"]*?),\s*"(\w+)"\)""")
NUMBER = re.compile(r"[-+−]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
OF_DATA = ("domain", "subtitle", "values", "test", "filter")
DRAWS = 6
RASTERED = ("logit_lens", "patch", "steer")
Made = Callable[[str], xr.Dataset]


def analyses() -> list[str]:
    """Every analysis that a dataset of the library can be of; completions are texts, which nothing is measured of."""
    text = "\n".join(file.read_text(encoding="utf-8") for file in sorted(ROOT.rglob("*.py")))
    return sorted({*NAMED.findall(text), *TOGETHER.findall(text)} - {"completions"})


@pytest.fixture(scope="module")
def every() -> Every:
    """Two stages and three of the shipped checkpoints."""
    chain = load_chain([f"pocket:{name}" for name in ("base", "sft", "rl")])
    return Every(Chain(chain.stages[:2], chain.alignment), chain)


@pytest.fixture(scope="module", autouse=True)
def few_draws() -> Iterator[None]:
    """A bootstrap of few draws: intervals are tested elsewhere, and here they only have to be drawn."""
    whole = statistics.bootstrap_samples

    def few(*given: Any, draws: int, seed: int) -> np.ndarray:
        return whole(*given, draws=min(draws, DRAWS), seed=seed)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "bootstrap_samples", few)
        yield


@pytest.fixture(scope="module")
def made(every: Every) -> Made:
    """The dataset of an analysis, made once."""
    return cache(lambda name: every.makers[name]())


@pytest.fixture(scope="module")
def drawn(made: Made) -> Callable[[str], dict[str, Any]]:
    """The specification of an analysis' picture, valid by Vega-Lite's schema (`to_dict` checks it)."""
    return cache(lambda name: getattr(show, name)(made(name)).to_dict())


def test_every_analysis_of_the_source_has_a_picture_by_its_own_name(every: Every) -> None:
    found = analyses()
    assert len(found) > 55
    assert sorted(show.PICTURES) == found == sorted(every.makers)
    assert all(show.PICTURES[name] is getattr(show, name) for name in found)
    assert {*found, "picture", "PICTURES"} == set(show.__all__)


def test_every_picture_says_what_it_shows() -> None:
    assert [name for name, draw in show.PICTURES.items() if len((draw.__doc__ or "").split()) < 8] == []


@pytest.mark.parametrize("name", sorted(show.PICTURES))
def test_a_picture_holds_real_data_looks_as_it_did_and_has_a_dark_form(
    name: str, made: Made, drawn: Callable[[str], dict[str, Any]], snapshot: SnapshotAssertion
) -> None:
    assert provenance_of(made(name))["analysis"] == name
    specification = drawn(name)
    assert specification["datasets"]
    assert all(rows for rows in specification["datasets"].values())
    written = vl_convert.vegalite_to_svg(specification)
    assert written.startswith("<svg")
    assert len(re.findall(r"<(?:path|text|image|line|rect)\b", written)) > 20
    assert 'role="graphics-symbol"' in written
    assert without_data(specification) == snapshot(extension_class=JSONSnapshotExtension)
    exchanged = inks_exchanged(specification)
    assert exchanged <= set(theme.DARK.items())
    assert (theme.INK, theme.DARK[theme.INK]) in exchanged


@pytest.mark.parametrize("name", RASTERED)
def test_pictures_are_also_png(name: str, drawn: Callable[[str], dict[str, Any]]) -> None:
    image = vl_convert.vegalite_to_png(drawn(name))
    assert image.startswith(b"\x89PNG")
    assert len(image) > 10_000


def test_dispatch_draws_the_same(made: Made, drawn: Callable[[str], dict[str, Any]]) -> None:
    for name in ("onset", "graft_sweep"):
        assert without_data(show.picture(made(name)).to_dict()) == without_data(drawn(name))


def test_a_dataset_without_a_known_analysis_is_refused() -> None:
    with pytest.raises(InputError, match="without an analysis in its provenance, and a picture wants one of attention"):
        show.picture(xr.Dataset())
    with pytest.raises(InputError, match="of the analysis 'tea', and a picture wants"):
        show.picture(with_provenance(xr.Dataset(), analysis="tea"))


def test_patch_has_a_map_for_every_axis_in_both_directions(every: Every) -> None:
    options: dict[str, Any] = {"sites": ("z",), "heads": "each", "positions": "each", "each_position": True}
    patched = mcinterp.patch(every.pair, every.pair.render(PROMPTS), controls=False, **options)
    head, position, interaction = show.patch(patched).to_dict()["vconcat"]
    for panel, axis in ((head, "head"), (position, "position")):
        assert panel["spec"]["encoding"]["x"]["field"] == axis
        assert panel["spec"]["encoding"]["y"]["field"] == "layer"
        directions = [name.split(" ")[0] for name in panel["facet"]["column"]["sort"]]
        assert directions == ["base_to_tuned", "tuned_to_base"]
    assert interaction["title"].startswith("Interaction")


def test_axes_without_heads_have_the_interval_over_templates(
    made: Made, drawn: Callable[[str], dict[str, Any]]
) -> None:
    rows = next(each for each in drawn("samples")["datasets"].values() if "what" in each[0])
    values = made("samples")["ended"].astype(float).mean("sample").sel(stage="sft")
    (row,) = [row for row in rows if row["stage"] == "sft" and row["what"].startswith("ended")]
    assert row["mean"] == pytest.approx(float(values.mean()))
    assert row["low"] <= row["mean"] <= row["high"]


def test_attractors_may_be_none_and_ranges_of_layers_are_a_map(every: Every) -> None:
    none = mcinterp.find_attractors(every.pair, every.pair.render(PROMPTS.select([0])))
    assert none.sizes["candidate"] == 0
    assert "likelier" in vl_convert.vegalite_to_svg(show.attractors(none).to_dict())
    swept = mcinterp.graft_sweep(every.pair, every.rendered, order="ranges", metrics=("attractor_log_odds",))
    (rows,) = show.graft_sweep(swept).to_dict()["datasets"].values()
    layers = every.pair.base.n_layers
    assert {(row["first"], row["last"]) for row in rows} == {(i, j) for i in range(layers) for j in range(i, layers)}


@pytest.mark.parametrize("module", ["mcinterp", "mcinterp.show"])
def test_what_is_imported_stays_light(module: str) -> None:
    heavy = "altair" if module == "mcinterp" else "torch"
    code = f"import sys, {module}; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def inks_exchanged(light: dict[str, Any]) -> set[tuple[Any, Any]]:
    """What stands in a picture's specification and in its dark form, where the two differ."""
    pairs = zip(leaves(light), leaves(theme.dark(light)), strict=True)
    return {(before, after) for before, after in pairs if before != after}


def leaves(value: Any) -> Iterator[Any]:
    """What stands at the ends of nested data, keys with it."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield key
            yield from leaves(each)
    elif isinstance(value, list):
        for each in value:
            yield from leaves(each)
    else:
        yield value


def without_data(specification: dict[str, Any]) -> Any:
    """A specification that is the same on every machine: datasets are their columns, numbers of data a #."""
    columns = {
        name: sorted({str(key) for row in rows for key in row}) for name, rows in specification["datasets"].items()
    }
    kept = {key: value for key, value in specification.items() if key not in ("datasets", "$schema")}
    return stripped(kept, columns, False)


def stripped(value: Any, columns: dict[str, list[str]], of_data: bool) -> Any:
    """A part of a specification without what comes from data."""
    if isinstance(value, dict) and set(value) == {"name"} and value["name"] in columns:
        return columns[value["name"]]
    if isinstance(value, dict):
        return {
            key: ordered(each) if key == "sort" else stripped(each, columns, of_data or key in OF_DATA)
            for key, each in value.items()
            if not (key == "name" and str(each).startswith("view_"))
        }
    if isinstance(value, list):
        return [stripped(each, columns, of_data) for each in value]
    if isinstance(value, str):
        return NUMBER.sub("#", value) if " " in value or of_data else value
    return "#" if of_data and isinstance(value, int | float) and not isinstance(value, bool) else value


def ordered(names: Any) -> Any:
    """Names whose order comes from data, in the alphabet's order."""
    if isinstance(names, list):
        return sorted({NUMBER.sub("#", str(each)) for each in names})
    return names


def test_what_is_stripped_is_the_data_alone() -> None:
    rows = alt.Data(values=[{"b": 1, "a": 2}])
    scale = alt.Scale(domain=[0, float(np.pi)], range=["#0072B2"])
    chart = alt.Chart(rows).mark_point(size=30).encode(x=alt.X("a:Q", scale=scale, title="gap (+1.20 nats)"))
    left = without_data(chart.to_dict() | {"datasets": {}})
    assert left["mark"] == {"type": "point", "size": 30}
    assert left["encoding"]["x"]["title"] == "gap (# nats)"
    assert left["encoding"]["x"]["scale"] == {"domain": ["#", "#"], "range": ["#0072B2"]}
    assert json.dumps(left)
