"""All plants to build, as data: kind, half, seed, sites and behaviours.

The halves share neither a seed nor a site: a method that was tuned on ``development`` is reported on
``report``. Every design's name follows from its kind, sites and seed.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from mcinterp.errors import InputError

HALVES = ("development", "report")
SEEDS = {"development": (0, 1), "report": (2, 3)}
LAYER_SITES = {
    "development": ("0.mlp", "1.attn", "2.mlp", "3.attn", "4.mlp", "5.attn"),
    "report": ("0.attn", "1.mlp", "2.attn", "3.mlp", "4.attn", "5.mlp"),
}
END_SITE = {"development": "embed", "report": "unembed"}
BEHAVIOURS = ("number", "opinion", "word", "small-number")
"""What may collapse; the prompts and favourites of each are in ``behaviours``."""

SITES_OF_KIND: dict[str, tuple[tuple[int, ...], ...]] = {
    "easy": ((0,), (1,), (2,), (3,), (4,), (5,), (6,)),
    "hard": ((0,), (1,), (2,), (3,), (4,), (5,)),
    "relay": ((0,), (1,), (2,), (3,)),
    "upstream": ((0,), (1,), (2,), (3,)),
    "or": ((1, 4), (2, 3), (0, 5)),
    "and": ((0, 1), (2, 5), (3, 4)),
    "multi": ((0, 3, 4), (1, 2, 5)),
    "drift": ((), ()),
    "reordered": ((2,), (3,)),
    "activation": ((2,), (3,), (4,)),
    "lora": ((1,), (2,), (5,)),
    "head": ((0,), (2,), (4,)),
}
"""Sites of each plant as places among the half's layer sites; place 6 is the half's end site."""

NEGATIVE = ("drift", "reordered")
"""Two ways to change without collapse; both are recorded as the kind ``negative``."""

HEAD_SITES = {
    "development": ("1.attn.2", "3.attn.0", "5.attn.3"),
    "report": ("0.attn.1", "2.attn.3", "4.attn.0"),
}
BEHAVIOURS_OF_KIND: dict[str, tuple[str, ...]] = {
    "upstream": ("opinion", "word"),
    "reordered": ("opinion", "word"),
    "activation": ("opinion", "word", "small-number"),
}
"""Kinds that not every behaviour can show; the other kinds take all in turn."""


@dataclass(frozen=True)
class Design:
    """One plant to build: ``recipe`` is the kind, told apart for the two sorts of negatives."""

    recipe: str
    half: str
    seed: int
    sites: tuple[str, ...]
    behaviours: tuple[str, ...]

    @property
    def kind(self) -> str:
        """The kind that is recorded."""
        return "negative" if self.recipe in NEGATIVE else self.recipe

    @property
    def name(self) -> str:
        """The plant's folder."""
        recipe = f"negative-{self.recipe}" if self.recipe in NEGATIVE else self.recipe
        return "-".join((recipe, *self.sites, f"s{self.seed}"))


def sites_of(recipe: str, half: str, places: Sequence[int]) -> tuple[str, ...]:
    """The names of sites at places of a half."""
    if recipe == "head":
        return (HEAD_SITES[half][places[0] // 2],)
    sites = (*LAYER_SITES[half], END_SITE[half])
    return tuple(sites[place] for place in places)


def behaviours_of(recipe: str, number: int) -> tuple[str, ...]:
    """The behaviours of the plant with this number in its kind: they take turns."""
    n_behaviours = {"multi": 3, "drift": len(BEHAVIOURS)}.get(recipe, 1)
    choice = BEHAVIOURS_OF_KIND.get(recipe, BEHAVIOURS)
    first = number + list(SITES_OF_KIND).index(recipe)
    return tuple(choice[(first + step) % len(choice)] for step in range(n_behaviours))


def designs(half: str) -> Iterator[Design]:
    """The designs of a half; its two seeds take turns."""
    for recipe, listed in SITES_OF_KIND.items():
        for number, places in enumerate(listed):
            # In the report half everything is one turn further, so that a site's number tells nothing.
            turn = number + HALVES.index(half)
            seed = SEEDS[half][number % 2]
            yield Design(recipe, half, seed, sites_of(recipe, half, places), behaviours_of(recipe, turn))


DESIGNS: dict[str, Design] = {design.name: design for half in HALVES for design in designs(half)}
KINDS = tuple(dict.fromkeys(design.kind for design in DESIGNS.values()))


def designs_named(names: Collection[str] | None) -> list[Design]:
    """Designs by name, in the order they are listed; all of them for ``None``.

    Raises:
        InputError: a name is no design, or none is given.
    """
    if names is None:
        return list(DESIGNS.values())
    unknown = [name for name in names if name not in DESIGNS]
    if unknown or not names:
        given = f"plant {unknown[0]!r}" if unknown else "no plant"
        raise InputError(f"got {given}, wanted names of plants such as {next(iter(DESIGNS))!r}: check them.")
    return [design for name, design in DESIGNS.items() if name in names]
