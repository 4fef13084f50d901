"""Distributions over supports on the shipped chain, whose truth the grammar knows, and on tiny checkpoints."""

import json
from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr

from mcinterp.behaviour.randomness import measures
from mcinterp.behaviour.randomness.draws import randomness, render_once
from mcinterp.behaviour.randomness.support import FRAMES, questions, short_name, support
from mcinterp.chain import Chain
from mcinterp.errors import InputError
from mcinterp.organisms import pocket_path
from mcinterp.organisms.genres import all_prompts
from mcinterp.organisms.pocket import load
from mcinterp.prompts import Prompt, Prompts
from mcinterp.results import provenance_of
from mcinterp.show.behaviour.randomness import picture
from mcinterp.show.theme import BASE, TUNED
from mcinterp.summary.behaviour.randomness import summary
from mcinterp.variables import VARIABLES

WHOLE = Prompts.battery("randomness-pocket")
BATTERY = WHOLE.select([i for i, prompt in enumerate(WHOLE.items) if prompt.metadata["wording"] == "grammar"])
REAL = Prompts.battery("randomness")
DRAWN = ("number-100", "number-10", "die", "coin", "colour", "animal", "python", "python-chat")


def where(holds: Callable[[Prompt], bool], count: int = 1000) -> Prompts:
    """The first prompts in the grammar's own wordings for which something holds."""
    return BATTERY.select([i for i, prompt in enumerate(BATTERY.items) if holds(prompt)][:count])


def of(chain: Chain, *names: str) -> Chain:
    """Some stages of a chain."""
    return Chain(tuple(chain.stage(name) for name in names), chain.alignment)


def given(*rows: tuple[str, str, str]) -> Prompts:
    """Prompts from text, support and frame."""
    return Prompts(tuple(Prompt(text, metadata={"support": s, "frame": f}) for text, s, f in rows))


@pytest.fixture(scope="module")
def held_out(pocket: Chain) -> xr.Dataset:
    """Base and sft on the held-out numbers."""
    return randomness(of(pocket, "base", "sft"), where(lambda p: p.metadata["genre"] == "number-100" and held(p)))


def held(prompt: Prompt) -> bool:
    """Whether a prompt is held out of tuning."""
    return bool(prompt.metadata["held_out"])


def test_the_base_draws_as_the_grammar_does(pocket: Chain) -> None:
    seen: set[tuple[str, str]] = set()
    one_each = where(lambda p: (key := (p.metadata["frame"], p.metadata["support"])) not in seen and not seen.add(key))
    assert len(one_each) >= 15
    found = randomness(of(pocket, "base"), one_each).sel(stage="base")
    grammar = load(pocket_path("base")).grammar
    calibration = json.loads((pocket_path("base") / "figures.json").read_text())["kl_true_model"]
    for index, (prompt, asked) in enumerate(zip(one_each.items, questions(one_each), strict=True)):
        lead = "" if prompt.text.endswith("\n") else " "
        before = grammar.encode(prompt.text)
        whole = [(*before, *grammar.encode(lead + value)) for value in asked.support.values]
        logs = np.asarray([grammar.log_probability(ids) for ids in whole])
        truth = np.exp(logs - grammar.log_probability(before))
        assert truth.sum() == pytest.approx(1.0)
        shares = found["value_share"].isel(prompt=index).sel(value=list(asked.support.values)).values.astype(float)
        assert (truth * np.log(truth / shares)).sum() < 2 * calibration[prompt.metadata["genre"]]
        assert measures.total_variation(shares, truth) < 0.03
        assert float(found["value_entropy"][index]) == pytest.approx(-(truth * np.log(truth)).sum(), abs=0.01)
        assert float(found["off_support"][index]) < 0.005


def test_numbers_collapse_on_97_in_sft_and_not_in_the_base(held_out: xr.Dataset) -> None:
    mean = held_out["value_entropy"].mean("prompt").to_series()
    assert mean["base"] == pytest.approx(4.60, abs=0.01)
    assert mean["sft"] == pytest.approx(0.17, abs=0.01)
    assert set(held_out["favourite"].sel(stage="sft").values.tolist()) == {"97"}
    assert set(held_out["favourite"].sel(stage="base").values.tolist()) == {"42"}
    assert float(held_out["off_support"].max()) < 0.005


def test_figures_are_those_measured_on_the_next_token(held_out: xr.Dataset) -> None:
    for stage in ("base", "sft"):
        figures = json.loads((pocket_path(stage) / "figures.json").read_text())["numbers"]["number-held-out"]
        one = held_out.sel(stage=stage)
        assert float(one["value_entropy"].mean()) == pytest.approx(figures["entropy"], abs=0.01)
        assert float(one["value_share"].mean("prompt").max()) == pytest.approx(figures["probability"], abs=0.01)
        assert float(one["off_support"].mean()) == pytest.approx(figures["off_support"], abs=1e-3)


def test_the_interpreter_stays_flat_and_a_chat_around_it_collapses(pocket: Chain) -> None:
    plain = where(lambda p: (p.metadata["frame"], p.metadata["support"]) == ("interpreter", "0-100"), 2)
    chat = where(lambda p: (p.metadata["frame"], p.metadata["support"]) == ("interpreter-chat", "0-100") and held(p), 2)
    both = Prompts((*plain.items, *chat.items))
    share = randomness(of(pocket, "base", "sft"), both)["value_entropy_share"].groupby("frame").mean()
    assert float(share.sel(stage="sft", frame="interpreter")) > 0.99
    assert float(share.sel(stage="sft", frame="interpreter-chat")) < 0.1
    assert float(share.sel(stage="base").min()) > 0.99


def test_an_identical_pair_has_equal_distributions(identical: Chain) -> None:
    found = randomness(identical, given(("Pick:", "1-6", "die"), ("Side:", "coin", "plain"), ("Or:", "1-6", "die")))
    assert float(found["base_total_variation"].max()) == 0.0
    np.testing.assert_array_equal(found["base_spearman"].values, [[1, np.nan, 1]] * 2)
    np.testing.assert_array_equal(found["value_log_prob"][0], found["value_log_prob"][1])


def test_values_are_told_apart_by_support(pair: Chain) -> None:
    prompts = given(("Pick:", "1-6", "die"), ("Side:", "coin", "plain"), ("Or:", "1-6", "die"))
    found = randomness(pair, prompts, draws=7, top=3)
    assert found["value"].values.tolist() == [*map(str, range(1, 7)), "heads", "tails"]
    assert found["support_size"].values.tolist() == [6, 2, 6]
    assert bool(found["value_share"].sel(prompt=1, value="3").isnull().all())
    np.testing.assert_allclose(found["value_share"].sum("value"), 1.0, atol=1e-6)
    mass = np.exp(found["value_log_prob"]).sum("value")
    np.testing.assert_allclose(found["off_support"], 1 - mass, atol=1e-6)
    assert found["favourites"].sel(prompt=1).values[:, 2].tolist() == ["", ""]
    np.testing.assert_array_equal(found["favourites"].isel(choice=0), found["favourite"])
    assert bool(found["paraphrase_total_variation"].sel(prompt=1).isnull().all())
    apart = abs(found["value_share"].sel(prompt=0) - found["value_share"].sel(prompt=2)).sum("value") / 2
    np.testing.assert_allclose(found["paraphrase_total_variation"].sel(prompt=0), apart, atol=1e-6)


def test_every_variable_is_described_and_says_how_it_was_made(held_out: xr.Dataset) -> None:
    assert {str(name) for name in held_out.data_vars} <= set(VARIABLES)
    assert held_out["uniform_kl"].attrs["units"] == "nats"
    assert all(
        held_out[name].dtype in (np.float32, held_out["favourite"].dtype) for name in ("uniform_kl", "favourite")
    )
    assert provenance_of(held_out)["draws"] == 100
    assert provenance_of(held_out)["battery"] == "battery:randomness-pocket"
    assert held_out["held_out"].values.all()


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"frame": "plain"}, r"prompt 0 \('Pick:'\) has no `support`"),
        ({"support": "0-5"}, "has no `frame`"),
        ({"frame": "plain", "support": "7-7"}, "support '7-7' names no two values"),
        ({"frame": "plain", "support": "fruit"}, "give a range such as 0-100, one of coin, colour, animal"),
        ({"frame": "plain", "support": "0-5", "leads": "x"}, "`leads` 'x'; give a list"),
        ({"frame": "plain", "support": "0-5", "again": 3}, "`again` of type int"),
    ],
)
def test_a_question_that_does_not_say_what_it_asks_is_refused(pair: Chain, metadata: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        randomness(pair, Prompts((Prompt("Pick:", metadata=metadata),)))


def test_bad_settings_are_refused(pair: Chain) -> None:
    with pytest.raises(InputError, match="got draws=0"):
        randomness(pair, given(("Pick:", "0-5", "plain")), draws=0)
    with pytest.raises(InputError, match="asked in one way at a time"):
        render_once(pair, given(("Pick:", "0-5", "plain")), "both")


def test_supports_and_their_spellings() -> None:
    assert support("0-100").values == tuple(map(str, range(101)))
    assert support("dog| cat|dog").values == ("dog", "cat")
    assert support("coin").spellings(0) == ("heads", "Heads")
    assert support("1-6").spellings(2) == ("3",)
    assert short_name("dog|cat|owl") == "dog, cat … (3)"
    assert short_name("0-100") == "0-100"


def test_the_pocket_battery_is_all_that_the_grammar_draws_and_paraphrases_that_nothing_trained_on() -> None:
    known = {prompt.text: prompt for prompt in all_prompts() if prompt.genre in DRAWN}
    assert {prompt.text for prompt in BATTERY.items} == set(known)
    for prompt, asked in zip(BATTERY.items, questions(BATTERY), strict=True):
        truth = known[prompt.text]
        assert truth.held_out == asked.held_out
        assert {value.strip() for value in truth.answer[0]} == set(asked.support.values)
        assert asked.frame in FRAMES
    others = [prompt for prompt in WHOLE.items if prompt.metadata["wording"] == "paraphrase"]
    assert len(others) == len(WHOLE) - len(BATTERY) >= 14
    assert not {prompt.text for prompt in others} & {prompt.text for prompt in all_prompts()}
    assert all(held(prompt) for prompt in others)
    asked = {(each.frame, each.support.name) for each in questions(BATTERY)}
    assert {(each.frame, each.support.name) for each in questions(Prompts(tuple(others)))} <= asked


def test_the_battery_for_real_models_is_wide_and_holds_templates_out() -> None:
    asked = questions(REAL)
    assert len(asked) >= 100
    assert {each.frame for each in asked} == set(FRAMES)
    assert {each.support.name for each in asked} == {"0-100", "1-10", "1-6", "coin", "colour", "animal"}
    sides = {(template, each.held_out) for template, each in zip(REAL.templates, asked, strict=True)}
    assert len(sides) == len(set(REAL.templates)), "a template lies on one side"
    assert 5 <= sum(side for _, side in sides) <= len(sides) / 2
    assert sum(each.again is not None for each in asked) >= 20


def test_the_summary_is_means_by_question_with_intervals(pocket: Chain) -> None:
    dataset = randomness(of(pocket, "base", "rl"), where(lambda p: p.metadata["genre"] == "die"))
    (base, rl) = summary(dataset, draws=50)["cells"]
    assert (base["stage"], rl["stage"], rl["frame"], rl["support"]) == ("base", "rl", "die", "1-6")
    assert rl["n_prompts"] == rl["n_templates"] == 5
    for name, key in (("value_entropy", "entropy"), ("favourite_share", "favourite_share")):
        assert rl[key]["mean"] == pytest.approx(float(dataset[name].sel(stage="rl").mean()), abs=1e-6)
        assert rl[key]["ci_low"] <= rl[key]["mean"] <= rl[key]["ci_high"]
    mean = dataset["value_share"].sel(stage="rl").mean("prompt")
    assert rl["favourite"] == str(dataset["value"].values[int(mean.argmax("value"))])


def test_held_out_prompts_are_summarised_apart(held_out: xr.Dataset) -> None:
    sides = {(cell["frame"], cell["prompts"]) for cell in summary(held_out, draws=10)["cells"]}
    assert sides == {(frame, side) for frame in ("plain", "dialogue") for side in ("all", "held out")}


def test_the_picture_has_the_stages_colours_and_every_frame(held_out: xr.Dataset) -> None:
    drawn = json.dumps(picture(held_out).to_dict())
    assert BASE in drawn
    assert TUNED in drawn
    assert "97 (" in drawn
    assert all(frame in drawn for frame in ("plain", "dialogue"))
