"""Draws after draws: against the same question asked by hand, and against the grammar, where draws are independent."""

from pathlib import Path

import numpy as np
import pytest

from mcinterp.behaviour.randomness.draws import randomness
from mcinterp.behaviour.randomness.history import check, drawn, earlier_draws, with_earlier_draws
from mcinterp.behaviour.randomness.support import question
from mcinterp.chain import Chain
from mcinterp.errors import InputError
from mcinterp.organisms.pocket import load
from mcinterp.prompts import Prompt, Prompts
from mcinterp.results import provenance_of
from mcinterp.show.behaviour.randomness import picture
from mcinterp.summary.behaviour.randomness import summary
from mcinterp.variables import VARIABLES

AGAIN = ".\nMore:"
BATTERY = Prompts.battery("randomness-pocket")


def asked(text: str, support: str, again: str | None = AGAIN) -> Prompt:
    """A question that can be asked again."""
    more = {} if again is None else {"again": again}
    return Prompt(text, template=text, metadata={"support": support, "frame": "plain", **more})


PROMPTS = Prompts((asked("Pick:", "1-6"), asked("Say:\n", "coin", None), asked("Now:\n", "3-9")))


def test_the_next_draw_is_that_of_the_question_asked_by_hand(pair: Chain) -> None:
    found = earlier_draws(pair, PROMPTS, samples=3, earlier=2)
    assert dict(found.sizes) == {"stage": 2, "prompt": 2, "sample": 3, "step": 2}
    assert found["prompt"].values.tolist() == [0, 2]
    one = found.sel(prompt=0, sample=1)
    first, second = one["earlier_value"].sel(stage="tuned").values.tolist()
    by_hand = randomness(pair, Prompts((asked(f"Pick: {first}{AGAIN}", "1-6"),))).isel(prompt=0)
    np.testing.assert_allclose(one["repeat_share"].sel(step=1), by_hand["value_share"].sel(value=first), atol=1e-6)
    np.testing.assert_allclose(one["next_entropy_share"].sel(step=1), by_hand["value_entropy_share"], atol=1e-6)
    numbers = np.arange(1, 7)
    shares = by_hand["value_share"].values.astype(float)
    np.testing.assert_allclose(one["next_mean"].sel(step=1), shares @ numbers, atol=1e-5)
    variance = shares @ numbers**2 - (shares @ numbers) ** 2
    np.testing.assert_allclose(one["next_variance"].sel(step=1), variance, atol=1e-4)
    twice = randomness(pair, Prompts((asked(f"Pick: {first}{AGAIN} {second}{AGAIN}", "1-6"),))).isel(prompt=0)
    seen = twice["value_share"].sel(value=sorted({first, second})).sum("value")
    np.testing.assert_allclose(one["repeat_any_share"].sel(step=2), seen, atol=1e-6)
    alone = randomness(pair, PROMPTS).sel(prompt=0)["value_share"].sel(value=second)
    np.testing.assert_allclose(one["repeat_share_alone"].sel(step=2), alone, atol=1e-6)


def test_uniform_draws_are_the_same_for_all_stages_and_own_ones_of_equal_stages_too(
    pair: Chain, identical: Chain
) -> None:
    uniform = earlier_draws(pair, PROMPTS, samples=4)["earlier_value"]
    np.testing.assert_array_equal(uniform[0], uniform[1])
    own = earlier_draws(identical, PROMPTS, samples=4, drawn_by="own")
    np.testing.assert_array_equal(own["repeat_share"][0], own["repeat_share"][1])
    assert provenance_of(own)["drawn_by"] == "own"


def test_values_are_drawn_by_their_shares() -> None:
    shares = np.tile([0.0, 0.25, np.nan, 0.75], (4, 1))
    assert drawn(shares, np.asarray([0.0, 0.24, 0.26, 0.999999])).tolist() == [1, 1, 3, 3]


def test_the_base_draws_again_as_the_grammar_does(pocket: Chain) -> None:
    pair = Chain(pocket.stages[:2], pocket.alignment)
    numbers = [
        p
        for p in BATTERY.items
        if "again" in p.metadata and p.metadata["support"] == "0-100" and p.metadata["wording"] == "grammar"
    ]
    frames = {p.metadata["frame"]: p for p in numbers}
    assert set(frames) == {"dialogue", "interpreter"}
    prompts = Prompts(tuple(frames.values()))
    found = earlier_draws(pair, prompts, samples=3).sel(stage="base", step=1)
    grammar = load(Path(pocket.base.checkpoint.location)).grammar
    for index, prompt in enumerate(prompts.items):
        for sample in range(3):
            value = str(found["earlier_value"].values[index, sample])
            text = question(prompt, 0).answered(prompt, value).text
            lead = "" if text.endswith("\n") else " "
            truth = grammar.next_distribution(grammar.encode(text))[grammar.encode(lead + value)[0]]
            assert float(found["repeat_share"][index, sample]) == pytest.approx(truth, abs=0.004)


def test_a_question_is_asked_again_as_text_and_as_messages() -> None:
    prompt = Prompt(
        "Say:\n", metadata={"support": "1-6", "frame": "die", "again": "\nSay:\n", "again_message": "More."}
    )
    again = question(prompt, 0).answered(prompt, "4")
    assert again.text == "Say:\n4\nSay:\n"
    assert [message["content"] for message in again.conversation] == ["Say:\n", "4", "More."]
    quoted = Prompt("Flip:", metadata={"support": "coin", "frame": "plain", "again": ";", "leads": ["'"]})
    assert question(quoted, 0).answered(quoted, "heads").text == "Flip:'heads;"


def test_a_chat_template_gets_the_earlier_draw_as_a_message(pair: Chain) -> None:
    prompts = Prompts((asked("Go", "1-6", "."),))
    found = earlier_draws(pair, prompts, rendering="chat", samples=1)
    value = str(found["earlier_value"].values[1, 0, 0, 0])
    text = f"user: Go\nassistant: {value}\nuser: .\nassistant:"
    rendered = pair.render(Prompts((question(prompts.items[0], 0).answered(prompts.items[0], value),)), "chat")
    assert rendered.texts == (text,)


def test_histories_join_the_distributions_and_are_summarised(pair: Chain) -> None:
    whole = with_earlier_draws(randomness(pair, PROMPTS), earlier_draws(pair, PROMPTS, samples=3))
    assert {str(name) for name in whole.data_vars} <= set(VARIABLES)
    assert bool(whole["repeat_share"].sel(prompt=1).isnull().all())
    assert set(whole["earlier_value"].sel(prompt=1).values.ravel().tolist()) == {""}
    assert provenance_of(whole)["earlier_draws"]["analysis"] == "earlier_draws"
    entries = summary(whole, draws=20)["earlier"]
    assert {(entry["support"], entry["stage"]) for entry in entries} == {
        (support, stage) for support in ("1-6", "3-9") for stage in ("base", "tuned")
    }
    one = next(entry for entry in entries if entry["support"] == "3-9" and entry["stage"] == "tuned")
    assert one["chance"] == pytest.approx(1 / 7)
    expected = float(whole["repeat_share"].sel(prompt=2, stage="tuned").mean())
    assert one["repeat_share"]["mean"] == pytest.approx(expected, abs=1e-6)
    assert np.isfinite(one["autocorrelation"]["mean"])
    assert "P(repeat) / chance" in picture(whole).to_json()


def test_what_cannot_be_asked_again_is_refused(pair: Chain) -> None:
    with pytest.raises(InputError, match="no prompt says how to ask again"):
        earlier_draws(pair, Prompts((asked("Pick:", "1-6", None),)))
    with pytest.raises(InputError, match="got samples=0 and earlier=1"):
        earlier_draws(pair, PROMPTS, samples=0)
    with pytest.raises(InputError, match="got drawn_by='chance'; give 'uniform' or 'own'"):
        check(1, 1, "chance")
