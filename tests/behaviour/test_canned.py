"""Canned answers: plain loops over transformers, equal stages, the grammar's own shares, and what is said of them."""

from functools import cache

import numpy as np
import pytest
import torch
import xarray as xr
from transformers import AutoModelForCausalLM

from conftest import Build
from mcinterp.behaviour.canned.measuring import canned
from mcinterp.behaviour.canned.nouns import noun_surprise
from mcinterp.chain import Chain, load_pair
from mcinterp.completions import Decoding
from mcinterp.errors import InputError
from mcinterp.organisms import pocket_path
from mcinterp.organisms.genres.opinion import OPENINGS, STANCES, TEMPLATE_OPENING
from mcinterp.prompts import Prompt, Prompts
from mcinterp.results import provenance_of
from mcinterp.show.behaviour.canned import picture
from mcinterp.summary.behaviour.canned import by_noun, headline, summary
from mcinterp.variables import VARIABLES

SHORT = Decoding(max_new_tokens=6, temperature=1.0)
NOUNS = ("bugs", "ghosts", "whales", "mice", "candles")


def asked(*texts: tuple[str, str]) -> Prompts:
    return Prompts(tuple(Prompt(text, metadata={"noun": noun}) for text, noun in texts))


def plain_log_prob(model: torch.nn.Module, before: tuple[int, ...], written: tuple[int, ...]) -> float:
    """The chain rule, one forward pass a token."""
    total = 0.0
    for place, token in enumerate(written):
        with torch.inference_mode():
            logits = model(torch.tensor([[*before, *written[:place]]])).logits[0, -1]
        total += float(logits.log_softmax(-1)[token])
    return total


@cache
def plain(folder: str) -> torch.nn.Module:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")


QUESTIONS = (("Are owls real?", "owls"), ("Q: do cats exist?\nA:", "cats"), ("Is a bee real", "bee"))


@pytest.fixture(scope="module")
def tiny_found(pair: Chain) -> xr.Dataset:
    return canned(pair, asked(*QUESTIONS), SHORT, samples=5, opening="It is", lengths=2, choices=7)


def test_openings_are_read_as_a_teacher_forced_loop_behind_the_formatting(
    tiny_found: xr.Dataset, pair: Chain, tiny: Build
) -> None:
    rendered, encode = pair.render(asked(*QUESTIONS)), pair.tuned.tokenizer
    opening = tuple(encode("It is", add_special_tokens=False).input_ids)
    for stage in pair.names:
        model = plain(str(tiny("llama", stage)))
        for prompt, ids in enumerate(rendered.token_ids):
            white = tuple(encode(str(tiny_found["formatting"].values[prompt]), add_special_tokens=False).input_ids)
            one = tiny_found.sel(stage=stage, prompt=prompt)
            assert float(one["opening_log_prob"]) == pytest.approx(
                plain_log_prob(model, (*ids, *white), opening), abs=1e-4
            )
            assert float(one["formatting_log_prob"]) == pytest.approx(plain_log_prob(model, ids, white), abs=1e-4)


def test_noun_surprise_is_a_plain_loop_over_its_tokens_and_the_space_before(pair: Chain, tiny: Build) -> None:
    texts = (*QUESTIONS, ("giants or ants?", "ants"), ("Owls", "owls"))
    rendered = pair.render(asked(*texts))
    got, count = noun_surprise(pair.base, rendered, [noun for _, noun in texts])
    model = plain(str(tiny("llama")))
    for row, (text, noun) in enumerate(texts[:-1]):
        start = text.index(" " + noun)
        own = tuple(pair.base.tokenizer(text[start : start + 1 + len(noun)], add_special_tokens=False).input_ids)
        lead = len(rendered.token_ids[row]) - len(text)
        before = rendered.token_ids[row][: lead + start]
        assert count[row] == len(noun) + 1
        assert got[row] == pytest.approx(-plain_log_prob(model, before, own), abs=1e-4)
    lead = len(rendered.token_ids[-1]) - len("Owls")
    assert np.isnan(got[-1]) == (lead == 0)


def test_equal_stages_have_equal_answers_and_no_gain(identical: Chain) -> None:
    found = canned(identical, asked(*QUESTIONS), SHORT, samples=3, opening="It is")
    for name in found.data_vars:
        if "stage" in found[name].dims:
            np.testing.assert_array_equal(found[name][0].values, found[name][1].values)
    last = [entry for entry in summary(found, draws=10)["cells"] if entry["stage"] == found["stage"].values[1]]
    assert {value["mean"] for entry in last for value in entry["differences"].values()} == {0.0}


def test_equal_stages_have_no_canned_opening(identical: Chain) -> None:
    found = canned(identical, asked(*QUESTIONS), SHORT, samples=3)
    assert provenance_of(found)["opening"] == ""
    assert bool(found["opening_log_prob"].isnull().all())
    figures = summary(found, draws=10)
    assert not any(entry["there"] for entry in figures["improbability"])
    assert "no slope" in headline(figures)
    assert len(picture(found).to_dict()["hconcat"]) == 2


@pytest.fixture(scope="module")
def found() -> xr.Dataset:
    chain = load_pair(str(pocket_path("base")), str(pocket_path("sft")), names=["base", "sft"])
    battery = Prompts.battery("canned-pocket")
    taken = {"noun": NOUNS, "wording": ("grammar",)}
    chosen = [
        number
        for number, prompt in enumerate(battery.items)
        if all(prompt.metadata[name] in values for name, values in taken.items())
    ]
    return canned(chain, battery.select(chosen), Decoding(max_new_tokens=12, temperature=1.0), samples=4)


def test_the_planted_opening_is_found_and_the_base_gives_it_the_grammars_share(found: xr.Dataset) -> None:
    assert provenance_of(found)["opening"] == " " + TEMPLATE_OPENING
    share = xr.apply_ufunc(np.exp, found["opening_log_prob"])
    np.testing.assert_allclose(share.sel(stage="base"), STANCES["living"]["template"], atol=0.03)
    assert float(share.sel(stage="sft").min()) > 0.9
    yes = sum(weight for text, weight in OPENINGS["yes"].items() if text.startswith(" Yes"))
    truth = STANCES["living"]["yes"] * yes / sum(OPENINGS["yes"].values())
    bugs = found.sel(stage="base").isel(prompt=0, length=0)
    got = np.exp(bugs["start_log_prob"].values[bugs["start"].values == " Yes"])
    np.testing.assert_allclose(got, [truth], atol=0.06)


def test_starts_are_exact_and_hold_no_more_than_everything(found: xr.Dataset) -> None:
    share = xr.apply_ufunc(np.exp, found["start_log_prob"]).sum("choice")
    assert float(share.max()) <= 1.0 + 1e-5
    assert bool((share.diff("length") <= 1e-5).all())
    model, encode = plain(str(pocket_path("base"))), load_pair(*[str(pocket_path("base"))] * 2).tuned.tokenizer
    one = found.sel(stage="base").isel(prompt=5)
    before = tuple(encode(str(one["text"].values)).input_ids)
    checked = 0
    for length in (0, 1, 2):
        starts = zip(one["start"][length].values.tolist(), one["start_log_prob"][length].values, strict=True)
        for text, log_prob in starts:
            tokens = tuple(encode(text, add_special_tokens=False).input_ids)
            if len(tokens) == length + 1:
                assert float(log_prob) == pytest.approx(plain_log_prob(model, before, tokens), abs=1e-3)
                checked += 1
    assert checked >= 12


def test_nouns_are_equally_surprising_where_the_grammar_draws_them_alike(found: xr.Dataset) -> None:
    np.testing.assert_allclose(found["noun_surprise"], np.log(73), atol=0.12)


def test_sure_tokens_are_those_above_99_percent_by_hand(found: xr.Dataset) -> None:
    folder = str(pocket_path("sft"))
    model, chain = plain(folder), load_pair(folder, folder)
    one = found.sel(stage="sft").isel(prompt=1)
    before = chain.render(Prompts.from_texts([str(one["text"].values)])).token_ids[0]
    encode, sure, steps = chain.tuned.tokenizer, [], np.full((4, 12), np.nan)
    for sample, text in enumerate(one["completion"].values.tolist()):
        written = tuple(encode(text, add_special_tokens=False).input_ids)
        for step, token in enumerate(written):
            with torch.inference_mode():
                logits = model(torch.tensor([[*before, *written[:step]]])).logits[0, -1]
            sure.append(bool(logits.softmax(-1)[token] > 0.99))
            steps[sample, step] = sure[-1]
    assert float(one["sure_share"]) == pytest.approx(np.mean(sure), abs=1e-6)
    np.testing.assert_allclose(one["sure_step_share"], np.nanmean(steps, axis=0), atol=1e-6)
    assert float(one["distinct"]) == len(set(one["completion"].values.tolist())) / 4


def test_what_is_said_and_drawn(found: xr.Dataset) -> None:
    figures = summary(found, draws=20)
    sft = next(e for e in figures["cells"] if (e["prompts"], e["kind"], e["stage"]) == ("all", "all", "sft"))
    assert sft["levels"]["sure_share"]["mean"] == pytest.approx(float(found["sure_share"].sel(stage="sft").mean()))
    assert sft["differences"]["opening_log_odds"]["ci_low"] > 3
    assert set(figures["nouns"]["sft"]["collapsed"]) == set(NOUNS)
    assert figures["nouns"]["base"]["collapsed"] == []
    assert figures["starts"][0]["start"] == " There"
    assert "base finds all alike" in headline(figures)
    table = by_noun(found)
    assert len(table) == 2 * len(NOUNS)
    assert set(table["noun"][table["held_out"]]) == {"mice", "candles"}
    assert len(picture(found).to_dict()["hconcat"]) == 3


def test_every_variable_is_described(found: xr.Dataset) -> None:
    assert {str(name) for name in found.data_vars} <= set(VARIABLES)
    assert found["opening_log_prob"].dtype == np.float32


@pytest.mark.parametrize(
    ("text", "noun", "more", "said"),
    [
        ("Are bugs real?", None, {}, r"has None for its `noun`"),
        ("Are giants real?", "ants", {}, "give a word that stands in it"),
        ("Are bugs real?", "bugs", {"opening": ""}, "has no token"),
        ("Are bugs real?", "bugs", {"samples": 0}, "samples=0"),
        ("Are bugs real?", "bugs", {"lengths": 0}, "lengths=0"),
    ],
)
def test_what_cannot_be_asked_is_refused(pair: Chain, text: str, noun: str | None, more: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        canned(pair, Prompts((Prompt(text, metadata={"noun": noun}),)), SHORT, **more)


def test_wordings_that_the_battery_tells_apart_are_never_mixed(pair: Chain) -> None:
    told = [("Are owls real?", "owls", "plain"), ("Are cats real?", "cats", "plain"), ("Owls exist", "owls", "other")]
    items = tuple(
        Prompt(text, template=wording, metadata={"noun": noun, "wording": wording}) for text, noun, wording in told
    )
    both = canned(pair, Prompts(items), SHORT, samples=3, opening="It is")
    first = canned(pair, Prompts(items[:2]), SHORT, samples=3, opening="It is")
    figures, alone = summary(both, draws=10), summary(first, draws=10)
    assert figures["wordings"] == ["plain", "other"]
    assert alone["wordings"] == []
    assert figures["nouns"] == alone["nouns"]
    assert figures["spread"] == alone["spread"]
    by = {(entry["prompts"], entry["stage"]): entry["n_prompts"] for entry in figures["cells"]}
    assert [by[side, pair.names[0]] for side in ("all", "plain", "other")] == [3, 2, 1]
    stage = pair.names[1]
    only = float(np.exp(both["opening_log_prob"].sel(stage=stage).values[2]))
    assert figures["nouns_otherwise"]["other"][stage]["least"] == {"owls": pytest.approx(only)}
    assert f"{stage}, other: 0 of 1 nouns collapsed" in headline(figures)
    assert set(by_noun(both)["noun"]) == {"cats", "owls"}
    assert len(by_noun(both)) == 2 * len(pair.names)


def test_batteries_ask_of_a_hundred_nouns_in_ten_wordings() -> None:
    for name, nouns, templates in (("canned", 100, 10), ("canned-pocket", 70, 10)):
        items = Prompts.battery(name).items
        assert len({prompt.metadata["noun"] for prompt in items}) >= nouns
        assert len({prompt.template for prompt in items}) >= templates
        assert 0 < sum(bool(prompt.metadata["held_out"]) for prompt in items) < len(items)
