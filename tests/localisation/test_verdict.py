"""The verdict on games whose answer is known: values of every coalition of sites, turned into grafts."""

from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest

from mcinterp.localisation.thresholds import Thresholds
from mcinterp.localisation.verdict import Table, interaction, support, verdict

SITES = ["a", "b", "c", "d"]
EQUAL = dict.fromkeys(SITES, 0.4)
Game = Callable[[set[str]], float]


def table_of(game: Game, *, noise: float = 0.0, prompts: int = 6) -> Table:
    """What grafts of single sites and pairs show where `game` is the log-odds with some sites tuned."""
    random = np.random.default_rng(0)
    names = [(site,) for site in SITES] + list(combinations(SITES, 2))
    everything = set(SITES)
    necessity = [game(everything) - game(everything - set(name)) for name in names]
    sufficiency = [game(set(name)) - game(set()) for name in names]
    gap = game(everything) - game(set())
    both = [np.tile(each, (prompts, 1)) + noise * random.normal(size=(prompts, len(names)))
            for each in (necessity, sufficiency)]  # fmt: skip
    return Table(*both, np.full(prompts, gap), names)


def alone(sites: set[str]) -> float:
    return 5.0 * ("b" in sites) + 0.3 * len(sites)


def either(sites: set[str]) -> float:
    return 5.0 * bool(sites & {"a", "c"}) + 0.2 * len(sites)


def both(sites: set[str]) -> float:
    return 5.0 * (sites >= {"b", "d"}) + 0.2 * len(sites)


def partly_either(sites: set[str]) -> float:
    return {0: 0.0, 1: 4.0, 2: 6.0}[len(sites & {"a", "c"})] + 0.2 * len(sites)


def spread(sites: set[str]) -> float:
    return 1.5 * len(sites)


def adding(sites: set[str]) -> float:
    return 3.0 * len(sites & {"a", "b"}) + 0.1 * len(sites)


@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize(
    ("game", "name", "sites"),
    [
        (alone, "localised", {"b"}),
        (either, "redundant", {"a", "c"}),
        (partly_either, "redundant", {"a", "c"}),
        (both, "joint", {"b", "d"}),
    ],
)
def test_each_pattern_is_named(game: Game, name: str, sites: set[str], noise: float) -> None:
    found = verdict(table_of(game, noise=noise), {site: 0.9 / len(sites) if site in sites else 0.02 for site in SITES})
    assert (found.name, set(found.sites)) == (name, sites)


@pytest.mark.parametrize("game", [spread, adding])
def test_sites_that_add_up_are_spread_out(game: Game) -> None:
    assert verdict(table_of(game), dict.fromkeys(SITES, 0.25)).name == "distributed"


def test_the_interaction_is_what_two_sites_do_beyond_their_sum() -> None:
    shares = {("a",): (0.1, 0.9), ("c",): (0.2, 0.8), ("a", "c"): (0.95, 1.05)}
    by_hand = ((1.05 - 0.9 - 0.8) + (0.1 + 0.2 - 0.95)) / 2
    assert interaction(shares, ("a", "c")) == pytest.approx(by_hand)


def test_support_counts_resamples_of_templates() -> None:
    table = table_of(alone)
    mixed = table._replace(necessity=table.necessity.copy(), sufficiency=table.sufficiency.copy())
    spread_out = table_of(spread)
    mixed.necessity[3:], mixed.sufficiency[3:] = spread_out.necessity[3:], spread_out.sufficiency[3:]
    templates = ["one"] * 3 + ["other"] * 3
    sure = support(table, EQUAL, templates, Thresholds())
    assert sure == {"localised": 1.0, "redundant": 0.0, "joint": 0.0, "distributed": 0.0}
    unsure = support(mixed, EQUAL, templates, Thresholds())
    assert 0.1 < unsure["localised"] < 0.9
    assert sum(unsure.values()) == pytest.approx(1.0)


def test_a_site_that_moved_along_is_no_partner() -> None:
    """One site makes it where the rest has moved along: undoing the readout breaks it too, and the score tells."""
    names = [("a",), ("b",), ("c",), ("a", "b"), ("a", "c"), ("b", "c")]
    necessity = [1.0, 0.65, 0.05, 1.0, 1.0, 0.7]
    sufficiency = [0.45, -0.1, 0.02, 0.9, 0.47, -0.1]
    table = Table(np.tile(necessity, (4, 1)), np.tile(sufficiency, (4, 1)), np.ones(4), names)
    assert verdict(table, {"a": 0.76, "b": 0.2, "c": 0.04}).name == "localised"
    assert verdict(table, {"a": 0.5, "b": 0.5, "c": 0.0}).name == "joint"
