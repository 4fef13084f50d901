"""The edits that a proof compares: sites reverted one after another, random sets of others, and a temperature."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, islice
from math import comb
from typing import NamedTuple

import numpy as np

from mcinterp.chain import Chain
from mcinterp.errors import InputError
from mcinterp.weights.groups import groups_of
from mcinterp.weights.tensors import changed_tensors


class Edit(NamedTuple):
    """The tuned stage with base weights at some sites, or read and sampled at a temperature; `base` is the base."""

    name: str
    kind: str
    sites: tuple[str, ...] = ()
    temperature: float = 1.0


TUNED, BASE = Edit("tuned", "tuned"), Edit("base", "base")


def site_names(sites: Sequence[str]) -> tuple[str, ...]:
    """Names of sites, each once; `InputError` for none or for a single string."""
    if isinstance(sites, str) or not sites:
        raise InputError(f"got {sites!r} for sites; give a list of names such as ['3.mlp', 'unembed'], best first.")
    return tuple(dict.fromkeys(sites))


def growing(sites: Sequence[str], most: int) -> Iterator[Edit]:
    """The first site, the first two, and so on."""
    for count in range(1, min(most, len(sites)) + 1):
        yield Edit(f"{count} site{'s' if count > 1 else ''}", "sites", tuple(sites[:count]))


def chosen_edit(regained: Mapping[Edit, float], regain: float) -> Edit:
    """The first edit that gives back enough, else the one that gives back most."""
    enough = [edit for edit, share in regained.items() if share >= regain]
    return enough[0] if enough else max(regained, key=lambda edit: regained[edit])


def changed_components(chain: Chain) -> list[str]:
    """Names of the components that hold a weight which tuning changed."""
    changed = set(changed_tensors(chain.base, chain.tuned))
    groups = groups_of(chain.base, "component")
    return [group.name for group in groups if any(member.tensor in changed for member in group.members)]


def random_edits(pool: Sequence[str], size: int, count: int, seed: int) -> list[Edit]:
    """At most `count` different random sets of `size` components of a pool; smaller ones where the pool is smaller."""
    size = min(size, len(pool))
    if size == 0:
        return []
    drawn = random_sets(len(pool), size, min(count, comb(len(pool), size)), seed)
    return [
        Edit(f"random {number}", "random", tuple(pool[i] for i in chosen)) for number, chosen in enumerate(drawn, 1)
    ]


def random_sets(pool: int, size: int, count: int, seed: int) -> list[tuple[int, ...]]:
    """Different random sets of numbers below `pool`."""
    random = np.random.default_rng(seed)
    if comb(pool, size) <= 4 * count:
        every = list(combinations(range(pool), size))
        return [every[i] for i in random.permutation(len(every))[:count]]
    drawn: dict[tuple[int, ...], None] = {}
    while len(drawn) < count:
        drawn[tuple(sorted(random.choice(pool, size, replace=False).tolist()))] = None
    return list(islice(drawn, count))
