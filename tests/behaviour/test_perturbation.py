"""Disturbed completions: no-ops are exact, an identical pair gives equal texts, and the collapsed stage comes back."""

import json
from importlib import resources

import numpy as np
import pytest
import xarray as xr

from mcinterp.behaviour.perturbation.cells import completions
from mcinterp.behaviour.perturbation.edits import Completion, Insert, Perturbing, Rewrite, Swap
from mcinterp.behaviour.perturbation.measures import Text
from mcinterp.behaviour.perturbation.perturbing import perturbation
from mcinterp.chain import Chain, load_chain
from mcinterp.errors import InputError
from mcinterp.prompts import Prompts
from mcinterp.results import load, save
from mcinterp.show.behaviour.perturbation import picture
from mcinterp.summary.behaviour.perturbation import summary
from mcinterp.variables import variable

TEXTS = ["one two", "Are bugs real?", "Say it: a", "ab. cd"]
SMALL = Perturbing((Swap(1), Insert(" ab.")), depths=(0.2, 0.6), steps=6, samples=2, least=2, plausible=0.0)


def completion(pair: Chain, text: str) -> Completion:
    """A completion of the tiny tokenizer, one token a character; the letter x could stand at even steps."""
    tokenizer = pair.tuned.tokenizer
    ids, (x,) = (tuple(tokenizer(each, add_special_tokens=False).input_ids) for each in (text, "x"))
    others = tuple((x,) if step % 2 == 0 else () for step in range(len(ids)))
    return Completion((0, 5), ids, tuple(text), others, tokenizer)


def text_of(pair: Chain, ids: tuple[int, ...]) -> str:
    """Tokens as text."""
    return pair.tuned.tokenizer.decode(list(ids))


def test_a_swap_stands_at_the_nearest_step_that_has_another_token(pair: Chain) -> None:
    given = completion(pair, "abcdefg")
    edited = Swap(1).at(given, 3)
    assert edited is not None
    assert (text_of(pair, edited.ids), edited.place, edited.after) == ("abx", 2, 3)
    assert Swap(2).at(given, 3) is None
    with pytest.raises(InputError, match="give 1 for the most likely"):
        Swap(0)


def test_a_sentence_is_put_in_where_one_ends(pair: Chain) -> None:
    given = completion(pair, "ab. cd ef.\ngh")
    for target, place in ((4, 3), (8, 10), (0, 0)):
        edited = Insert(" No.").at(given, target)
        assert edited is not None
        assert text_of(pair, edited.ids) == "ab. cd ef.\ngh"[:place] + " No."
        assert edited.place == edited.after == place


def test_a_rewrite_is_what_the_user_makes_of_the_beginning(pair: Chain) -> None:
    given = completion(pair, "I like cats and")
    change = Rewrite("dogs", lambda text: text.replace("cats", "dogs"))
    edited = change.at(given, 11)
    assert edited is not None
    assert text_of(pair, edited.ids) == "I like dogs"
    assert (edited.place, edited.after) == (7, 11)
    assert change.at(given, 5) is None


def test_alternatives_are_the_likely_other_tokens_of_the_base(pair: Chain) -> None:
    text = Text((11, 12), False)
    (seen,) = completions(pair.base, pair.tuned.tokenizer, [(0, 5)], [text], 0.01)
    assert [len(others) > 0 for others in seen.alternatives] == [True, True]
    assert all(written not in others for written, others in zip(text.ids, seen.alternatives, strict=True))
    assert not pair.base.end_tokens & {token for others in seen.alternatives for token in others}
    (none,) = completions(pair.base, pair.tuned.tokenizer, [(0, 5)], [text], 1.1)
    assert none.alternatives == ((), ())


@pytest.fixture(scope="module")
def same(identical: Chain) -> xr.Dataset:
    return perturbation(identical, Prompts.from_texts(TEXTS, template=["a", "a", "b", "c"]), SMALL)


def test_an_identical_pair_writes_equal_texts_and_matches_at_temperature_one(same: xr.Dataset) -> None:
    one, other = (same.isel(stage=n).drop_vars("stage") for n in (0, 1))
    xr.testing.assert_equal(one.isel(decoding=slice(2)), other.isel(decoding=slice(2)))
    xr.testing.assert_allclose(one, other)
    assert (one["completion"].values == other["completion"].values).all()
    np.testing.assert_allclose(same["temperature"].sel(decoding="matched"), 1.0, atol=1e-6)


def test_nothing_changed_and_written_on_greedily_is_the_unedited_text(same: xr.Dataset) -> None:
    untouched = same.sel(decoding="greedy", edit="none", sample=0)
    there = untouched["edit_distance"].notnull()
    assert bool(there.any())
    assert float(untouched["edit_distance"].max()) == 0.0
    assert float(untouched["distance"].max()) == 0.0
    assert set(untouched["returned"].values[~np.isnan(untouched["returned"].values)]) == {1.0}
    assert float(untouched["return_step"].max()) == 0.0
    assert bool(same.sel(decoding="greedy", sample=1)["returned"].isnull().all())


def test_everything_has_a_unit_and_survives_a_file(same: xr.Dataset, tmp_path) -> None:
    assert [name for name in same.data_vars if variable(str(name)) is None] == []
    xr.testing.assert_equal(load(save(same, tmp_path / "same.nc")), same)
    assert json.loads(same.attrs["provenance"])["steps"] == 6


@pytest.fixture(scope="module")
def opinions() -> xr.Dataset:
    pocket = load_chain(["pocket:base", "pocket:sft"])
    battery = Prompts.battery("perturbation-pocket")
    chosen = [i for i, p in enumerate(battery.items) if p.metadata["genre"] == "opinion"]
    settings = Perturbing((Swap(1), Insert(" I am not sure.")), depths=(0.2, 0.5), steps=32, samples=1)
    return perturbation(pocket, battery.select(chosen[:8]), settings)


def test_the_collapsed_stage_comes_back_and_the_base_as_sure_does_not(opinions: xr.Dataset) -> None:
    found = summary(opinions, draws=100)
    cells = {(c["stage"], c["decoding"]): c for c in found["cells"] if c["prompts"] == "all" and c["genre"] == "all"}
    tuned, matched = cells["sft", "sampled"], cells["sft", "matched"]
    assert tuned["same_ending"]["mean"] > 0.5 > 0.35 > matched["same_ending"]["mean"]
    assert tuned["beyond_matched"]["ci_low"] > 0
    assert tuned["attracts"]
    assert cells["base", "sampled"]["beyond_matched"] == {"mean": 0.0, "ci_low": 0.0, "ci_high": 0.0}
    assert not cells["base", "sampled"]["attracts"]
    assert matched["unedited_entropy"]["mean"] == pytest.approx(tuned["unedited_entropy"]["mean"], abs=0.1)
    assert matched["temperature"] < 0.5
    assert tuned["contraction_rate"]["mean"] < cells["base", "sampled"]["contraction_rate"]["mean"]
    assert tuned["n_endings"]["mean"] < cells["base", "sampled"]["n_endings"]["mean"] + 1


def test_the_picture_is_drawn_from_data(opinions: xr.Dataset) -> None:
    made = picture(opinions).to_dict()
    assert len(made["vconcat"]) == 2
    assert json.dumps(made)


def test_the_batteries_are_large_enough() -> None:
    for name in ("perturbation", "perturbation-pocket"):
        battery = Prompts.battery(name)
        assert len(set(battery.templates)) >= 10
        assert {bool(p.metadata["held_out"]) for p in battery.items} == {True, False}
    assert len(Prompts.battery("perturbation")) >= 100
    assert resources.files("mcinterp").joinpath("batteries/perturbation.jsonl").is_file()


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"steps": 0}, "give 1 or more of each"),
        ({"depths": (1.0,)}, "from 0 to below 1"),
        ({"edits": (Swap(1), Swap(1))}, "a name of its own"),
        ({"edits": ()}, "give one or more"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(wrong: dict, match: str) -> None:
    with pytest.raises(InputError, match=match):
        Perturbing(**wrong)
