"""The places where an activation can be replaced, by their names in the field and their TransformerLens hooks."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch

from mcinterp.chain import Stage
from mcinterp.errors import InputError

Axis = Literal["token", "head", "neuron", "pattern"]
SiteName = str | tuple[str, ...]
Place = tuple[str, int]
"""A site and its layer."""


class Site(NamedTuple):
    """A site: its hook name, and what its activation has behind batch and position."""

    hook: str
    axis: Axis

    def at(self, layer: int) -> str:
        """The hook name in a layer."""
        return self.hook.format(layer=layer)


SITES: dict[str, Site] = {
    "resid_pre": Site("blocks.{layer}.hook_resid_pre", "token"),
    "resid_mid": Site("blocks.{layer}.hook_resid_mid", "token"),
    "resid_post": Site("blocks.{layer}.hook_resid_post", "token"),
    "attn_out": Site("blocks.{layer}.hook_attn_out", "token"),
    "mlp_out": Site("blocks.{layer}.hook_mlp_out", "token"),
    "z": Site("blocks.{layer}.attn.hook_z", "head"),
    "q": Site("blocks.{layer}.attn.hook_q", "head"),
    "k": Site("blocks.{layer}.attn.hook_k", "head"),
    "v": Site("blocks.{layer}.attn.hook_v", "head"),
    "pattern": Site("blocks.{layer}.attn.hook_pattern", "pattern"),
    "mlp_post": Site("blocks.{layer}.mlp.hook_post", "neuron"),
    "final_scale": Site("ln_final.hook_scale", "token"),
}
MIDDLE, END = "hook_resid_mid", "hook_resid_post"
TOGETHER = {"kv": ("k", "v")}
BY_HEAD = ("head", "pattern")


def parts(site: SiteName) -> tuple[str, ...]:
    """The single sites of a site or of a joint one: `kv` is `("k", "v")`.

    Raises `InputError` for an unknown name.
    """
    names = (site,) if isinstance(site, str) else tuple(site)
    single = tuple(part for name in names for part in TOGETHER.get(name, (name,)))
    for name in single:
        if name not in SITES:
            raise InputError(f"site {name!r} is unknown; give some of {', '.join([*SITES, *TOGETHER])}.")
    if not single:
        raise InputError("a joint site without parts was given; name at least one site in it.")
    return single


def label(site: SiteName) -> str:
    """The name under which a site stands in a result: parts of a joint one are joined by `+`."""
    return site if isinstance(site, str) else "+".join(site)


def hook_name(site: str, layer: int) -> str:
    """The TransformerLens hook name of a single site in a layer."""
    return SITES[site].at(layer)


def carried(hooks: Sequence[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Hooks that change activations, with every change at `resid_mid` carried on by the stream itself.

    That hook lies on what the MLP reads, and the stream flows on past it: a change there alone would leave the stream
    as it was. So the same change is added at the layer's end, before other hooks there.
    """
    found: list[tuple[str, Any]] = []
    for name, change in hooks:
        if not name.endswith(f".{MIDDLE}"):
            found.append((name, change))
            continue
        carry = Carry(change)
        found = [(name.replace(MIDDLE, END), carry.add), *found, (name, carry.change)]
    return found


class Carry:
    """One hook at `resid_mid`, and the one that adds its change at the layer's end."""

    asked: Any
    delta: torch.Tensor | None

    def __init__(self, change: Any) -> None:
        self.asked, self.delta = change, None

    def change(self, activation: torch.Tensor, hook: Any) -> torch.Tensor | None:
        """What the MLP reads."""
        changed = self.asked(activation, hook)
        self.delta = None if changed is None else changed - activation
        return changed

    def add(self, activation: torch.Tensor, hook: Any) -> torch.Tensor | None:
        """The same change in the stream."""
        delta, self.delta = self.delta, None
        return None if delta is None else activation + delta


def require_sites(stage: Stage, sites: Sequence[str]) -> None:
    """Refuse sites that the architecture does not have (no `resid_mid` where attention and MLP are parallel)."""
    for site in sites:
        if hook_name(site, 0) not in stage.bridge.hook_dict:
            raise InputError(f"stage {stage.name!r} has no site {site!r} in its architecture; leave it out.")
