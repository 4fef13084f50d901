"""Endings of stages: the grammar's own outcomes, sums of one, whole stories, equal stages, and what is said of them."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from scipy.stats import binom

from mcinterp.behaviour.endings.measuring import endings
from mcinterp.behaviour.endings.outcomes import outcomes_of
from mcinterp.behaviour.endings.places import Branched, Place
from mcinterp.behaviour.endings.reading import exact_tallies, tallies
from mcinterp.chain import Chain, load_pair
from mcinterp.errors import InputError
from mcinterp.organisms import pocket_path
from mcinterp.organisms.genres.greentext import GREEN_ENDINGS
from mcinterp.organisms.genres.writing import CODA_PIECES, CODA_SHARE, CODA_WEDDING
from mcinterp.prompts import Prompt, Prompts
from mcinterp.show.behaviour.endings import picture
from mcinterp.summary.behaviour.endings import headline, summary

FEW = Branched(samples=3, kept=(0, 2, 4), length=48, nodes=100)
BEGINNING = "\n>stay calm\n>it is only the cat"


@pytest.fixture(scope="module")
def twice() -> Chain:
    return load_pair(str(pocket_path("base")), str(pocket_path("base")))


@pytest.fixture(scope="module")
def greentexts() -> Prompts:
    return Prompts.battery("endings-pocket").select([4, 20])


def grammar_share(outcome: str) -> float:
    """The truth of a greentext's outcome, the coda's wedding party being the last sign of its texts."""
    wedding = CODA_SHARE * CODA_PIECES[CODA_WEDDING] / sum(CODA_PIECES.values())
    if outcome.endswith(CODA_WEDDING):
        return wedding
    return (1 - wedding) * GREEN_ENDINGS[outcome] / sum(GREEN_ENDINGS.values())


def test_the_base_ends_greentexts_as_the_grammar_does(twice: Chain, greentexts: Prompts) -> None:
    one = greentexts.select([0])
    asked, rendered = outcomes_of(one), twice.render(one)
    settings = Branched(samples=120, length=40, nodes=300)
    whole = twice.render(Prompts.from_texts([one.items[0].text + BEGINNING])).token_ids[0]
    place = Place(0, whole, len(whole) - len(rendered.token_ids[0]), False)
    truth = np.array([grammar_share(name) for name in asked[0].names])
    exact = exact_tallies(twice, rendered, asked, [place], settings)[place]
    np.testing.assert_allclose(exact.sum(axis=1), 1.0, atol=1e-5)
    np.testing.assert_allclose(exact[0, :-2], truth, atol=0.04)
    sampled = tallies(twice, twice.base, rendered, asked, [place], settings)[place]
    low, high = binom.interval(0.999, 120, truth)
    assert sampled.sum() == 120
    assert bool(((low <= sampled[:-2]) & (sampled[:-2] <= high)).all())


@pytest.fixture(scope="module")
def found(twice: Chain) -> xr.Dataset:
    battery = Prompts.battery("endings-pocket")
    return endings(twice, battery.select([0, 4, 9, 16, 20]), FEW)


def test_shares_sum_to_one_and_stages_that_are_equal_end_alike(found: xr.Dataset) -> None:
    total = found["outcome_share"].sum("outcome") + found["other_share"] + found["unfinished_share"]
    np.testing.assert_allclose(total, 1.0, atol=1e-5)
    base, tuned = found.isel(stage=0), found.isel(stage=1)
    for name in found.data_vars:
        if "stage" in found[name].dims:
            np.testing.assert_array_equal(base[name].values, tuned[name].values)
    assert [v for v in found.data_vars if "units" not in found[v].attrs] == []


def test_information_is_the_fall_of_entropy_and_all_of_it_where_the_story_is_whole(found: xr.Dataset) -> None:
    entropy, information = found["outcome_entropy"], found["outcome_information"]
    np.testing.assert_allclose(information, entropy.isel(branch=0) - entropy, atol=1e-6)
    assert not bool(information.isel(branch=0).any())
    whole = found["story_whole"].astype(bool)
    assert bool(whole.any())
    np.testing.assert_allclose(entropy.where(whole).fillna(0.0), 0.0, atol=1e-6)


def test_a_story_decided_by_its_first_token_has_all_information_there(twice: Chain) -> None:
    coin = Prompt("Q: Heads or tails?\nA:", metadata={"outcomes": ["heads", "tails"]})
    settings = Branched(samples=16, kept=(0, 1), unit="token", length=12)
    one = endings(twice, Prompts((coin,)), settings).isel(stage=0, prompt=0).sel(path="own")
    assert float(one["outcome_entropy"].sel(branch=0)) > 0.5
    assert float(one["outcome_entropy"].sel(branch=1)) == 0.0
    assert float(one["outcome_information"].sel(branch=1)) == float(one["outcome_entropy"].sel(branch=0))
    assert float(one["outcome_exact"].sel(branch=0)) == 0.0


def test_what_is_said_and_drawn(found: xr.Dataset) -> None:
    figures = summary(found, draws=20)
    whole = next(cell for cell in figures["cells"] if cell["genre"] == "all" and cell["stage"] == figures["stages"][1])
    assert whole["vanished"] == []
    assert whole["decided"]["0"]["mean"] == 0.0
    own = found.sel(path="own", branch=0).isel(stage=0)["outcome_entropy"]
    assert whole["own"]["entropy"]["0"]["mean"] == pytest.approx(float(own.mean()), abs=1e-5)
    assert headline(figures).count("\n") == 1 + sum(cell["prompts"] == "all" for cell in figures["cells"])
    assert len(picture(found).to_dict()["vconcat"]) >= 2


def test_samples_do_not_depend_on_the_other_places(twice: Chain, greentexts: Prompts) -> None:
    asked, rendered = outcomes_of(greentexts), twice.render(greentexts)
    both = [Place(n, rendered.token_ids[n], 0, False) for n in (0, 1)]
    settings = replace(FEW, samples=8)
    together = tallies(twice, twice.base, rendered, asked, both, settings)
    for place in both:
        np.testing.assert_array_equal(
            together[place], tallies(twice, twice.base, rendered, asked, [place], settings)[place]
        )


def test_prompts_without_outcomes_are_refused(twice: Chain) -> None:
    with pytest.raises(InputError, match="give two or more"):
        endings(twice, Prompts.from_texts(["a"]), FEW)
