"""The catalogue's data files, one TOML file a family, read into entries."""

import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any

from mcinterp.catalogue.entry import TRAPS, Entry, Published, Shape, Template, Trap
from mcinterp.errors import InputError, quoted

SHAPE = ("n_layers", "d_model", "n_heads", "n_kv_heads", "d_head", "d_mlp", "vocabulary", "context", "tied")
NEAR, MOST_NEAR = 0.5, 4


@cache
def families() -> tuple[Mapping[str, Any], ...]:
    """The data files as they stand, by name."""
    folder = resources.files("mcinterp").joinpath("catalogue", "families")
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".toml")), key=lambda file: file.name)
    return tuple(tomllib.loads(file.read_text(encoding="utf-8")) for file in files)


@cache
def entries() -> tuple[Entry, ...]:
    """All entries, family by family, the smallest first."""
    return tuple(made for family in families() for made in (entry_of(family, each) for each in family["entry"]))


@cache
def left_out() -> Mapping[str, str]:
    """What was looked at and is no entry, and why."""
    return MappingProxyType({name: why for family in families() for name, why in family.get("left_out", {}).items()})


def entry(name: str) -> Entry:
    """An entry by its name; `InputError` for an unknown one, with names that are near, or why it was left out."""
    for each in entries():
        if each.name == name:
            return each
    if name in left_out():
        raise InputError(f"catalogue entry {quoted(name)} was left out: {left_out()[name]}.")
    raise InputError(f"the catalogue has no entry {quoted(name)}; {suggestion(name)}.")


def suggestion(name: str) -> str:
    """What to give instead of an unknown name."""
    near = get_close_matches(name.lower(), [each.name for each in entries()], MOST_NEAR, NEAR)
    listed = "`mcinterp catalogue` lists all entries"
    return f"near it are {', '.join(near)}; {listed}" if near else listed


def entry_of(family: Mapping[str, Any], given: Mapping[str, Any]) -> Entry:
    """An entry from its own table and what its family has in common."""
    shape = Shape(**{key: given[key] for key in SHAPE})
    template = family.get("template") if given.get("template", True) else None
    return Entry(
        name=given["name"],
        family=family["family"],
        title=given["title"],
        stages=tuple(stage_of(family, shape, each) for each in given["stages"]),
        shape=shape,
        parameters=given["parameters"],
        counted_by=given["counted_by"],
        architecture=family["architecture"],
        model_type=family["model_type"],
        config=MappingProxyType({**family.get("config", {}), **given.get("config", {})}),
        template=Template(**{**template, **given.get("template_changes", {})}) if template else None,
        gating=given.get("gating", family["gating"]),
        licence=given.get("licence", family["licence"]),
        traps=tuple(trap_of(each) for each in (*given.get("trap", ()), *family.get("trap", ()))),
        checked=family["checked"],
        sources=(*family["sources"], *given.get("sources", ())),
        unconfirmed=(*family.get("unconfirmed", ()), *given.get("unconfirmed", ())),
    )


def stage_of(family: Mapping[str, Any], shape: Shape, given: Mapping[str, Any]) -> Published:
    """A stage; what it does not say is as in the base, or in the family."""
    return Published(
        name=given["name"],
        hub=given["hub"],
        method=given["method"],
        revision=given.get("revision", "main"),
        vocabulary=given.get("vocabulary", shape.vocabulary),
        context=given.get("context", shape.context),
        dtype=given.get("dtype", family.get("dtype", "")),
        templated=given.get("templated", given["name"] != "base"),
    )


def trap_of(given: Mapping[str, str]) -> Trap:
    """A trap of a known kind."""
    assert given["kind"] in TRAPS, given
    return Trap(given["kind"], given["says"])
