"""Probes and patches on checkpoints: equal stages, plain hook loops, and the grammar's own controls."""

from random import Random

import numpy as np
import pytest
import torch
import xarray as xr

from mcinterp.behaviour.planning.experiment import planning
from mcinterp.behaviour.planning.linear import held_out_losses
from mcinterp.behaviour.planning.patching import patches, with_bridges
from mcinterp.behaviour.planning.probing import probes
from mcinterp.behaviour.planning.residuals import Point, patched_log_probs, residuals
from mcinterp.behaviour.planning.settings import Planning
from mcinterp.chain import Chain, load_pair
from mcinterp.errors import InputError
from mcinterp.organisms import pocket_path
from mcinterp.organisms.genres import all_prompts
from mcinterp.organisms.pocket import load
from mcinterp.prompts import Prompt, Prompts
from mcinterp.results import provenance_of
from mcinterp.show.behaviour.planning import picture
from mcinterp.show.theme import BASE, TUNED
from mcinterp.summary.behaviour.planning import FURTHER, NEXT, headline, summary

BATTERY = Prompts.battery("planning-pocket")
FEW = Planning(samples=1, steps=12, ahead=(1, 3), classes=8, layers=2, matched_on=1)


def of_templates(*names: str, count: int = 4) -> Prompts:
    """The first prompts of some templates."""
    chosen = [[i for i, prompt in enumerate(BATTERY.items) if prompt.template == name][:count] for name in names]
    return BATTERY.select([index for each in chosen for index in each])


@pytest.fixture(scope="module")
def twice() -> Chain:
    return load_pair(str(pocket_path("base")), str(pocket_path("base")), names=["base", "same"])


@pytest.fixture(scope="module")
def equal(twice: Chain) -> xr.Dataset:
    prompts = of_templates("capital-plain", "capital-qa", "story-title", "story-chat", "greentext-plain")
    return planning(twice, prompts, FEW)


def test_equal_stages_decode_equally(equal: xr.Dataset) -> None:
    for name in ("probe_loss", "shuffled_loss", "embedding_loss", "class_loss", "target_count"):
        by = equal[name].sel(stage="same")
        np.testing.assert_array_equal(by.sel(reader="base").values, by.sel(reader="stage").values)
        assert bool(by.notnull().any())
    gains = [entry["gain"] for entry in summary(equal, draws=20)["probes"]]
    assert gains
    assert all(each[end] == 0.0 for each in gains for end in ("mean", "ci_low", "ci_high") if np.isfinite(each[end]))


def test_equal_stages_are_moved_equally_and_not_by_each_other(equal: xr.Dataset) -> None:
    for name in ("plan_gap", "plan_full", "plan_effect", "plan_random"):
        np.testing.assert_array_equal(equal[name].sel(stage="base").values, equal[name].sel(stage="same").values)
    for name in ("swap_gap", "swap_full", "swap_effect", "swap_noop"):
        assert float(abs(equal[name]).max()) == 0.0
    assert float(abs(equal["plan_noop"]).max()) == 0.0


def test_what_stands_at_the_place_itself_is_moved_whole_and_what_hangs_on_nothing_has_no_donor(
    equal: xr.Dataset,
) -> None:
    capitals = equal.sel(prompt=equal["genre"] == "capital", stage="base")
    assert bool(capitals["plan_gap"].notnull().all())
    np.testing.assert_allclose(capitals["plan_full"], capitals["plan_gap"], rtol=1e-4)
    np.testing.assert_allclose(capitals["plan_effect"].isel(layer=-1), capitals["plan_gap"], rtol=1e-4)
    greentexts = equal.sel(prompt=equal["genre"] == "greentext")
    assert bool(greentexts["plan_gap"].isnull().all())
    assert bool((greentexts["plan_distance"] == 0).all())


def test_every_variable_has_a_unit_and_the_picture_shows_both_stages(equal: xr.Dataset) -> None:
    assert [v for v in equal.data_vars if "units" not in equal[v].attrs] == []
    assert provenance_of(equal)["planning_probe"]["classes"] == FEW.classes
    found = summary(equal, draws=20)
    assert {entry["reach"] for entry in found["patches"]} == {NEXT, FURTHER}
    assert sum(line.startswith("| --- ") for line in headline(found).splitlines()) == 3
    drawn = picture(equal).to_json()
    assert BASE in drawn
    assert TUNED in drawn


def test_patched_log_probs_equal_a_plain_loop(pair: Chain) -> None:
    stage, vocabulary = pair.base, pair.base.readout.vocabulary
    texts, columns = [(5, 9, 3, 8), (4, 6, 7, 2, 9, 11), (3, 12)], [1, 2, 1]
    points = [Point(0, "resid_post"), Point(2, "resid_post")]
    new = {point: torch.randn(len(texts), stage.bridge.cfg.d_model) for point in points}
    found = patched_log_probs(stage, texts, columns, new)
    for row, (ids, column) in enumerate(zip(texts, columns, strict=True)):

        def hook_of(point: Point, row: int = row, column: int = column):
            def put(activation, hook):
                activation[0, column] = new[point][row]
                return activation

            return point.hook, put

        with torch.inference_mode():
            logits = stage.bridge.run_with_hooks(torch.tensor([ids]), fwd_hooks=[hook_of(point) for point in points])
        torch.testing.assert_close(found[row], logits[0, -1, :vocabulary].log_softmax(dim=-1), atol=1e-5, rtol=1e-5)


def test_residuals_are_the_models_own_in_the_order_of_the_texts(pair: Chain) -> None:
    texts, columns = [(5, 9, 3), (4, 6, 7, 2, 9), (3, 12)], [[0, 2], [4], []]
    point = Point(1, "resid_post")
    found = residuals(pair.tuned, texts, columns, [point])[point]
    plain = []
    for ids, places in zip(texts, columns, strict=True):
        with torch.inference_mode():
            _, cache = pair.tuned.bridge.run_with_cache(torch.tensor([ids]))
        plain.append(cache[point.hook][0, places])
    torch.testing.assert_close(found, torch.cat(plain), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("genre", "least", "most"), [("repeat", 0.6, 1.0), ("greentext", -0.02, 0.02)])
def test_a_probe_finds_what_the_prompt_fixes_and_nothing_of_what_is_drawn_anew(
    twice: Chain, genre: str, least: float, most: float
) -> None:
    """A line to repeat is known at the prompt's end; a greentext's next line is drawn whatever the prompt was."""
    grammar = load(pocket_path("base")).grammar
    random = Random(1)
    drawn = [prompt for prompt in all_prompts() if prompt.genre == genre for _ in range(2)]
    texts = [prompt.text for prompt in drawn]
    starts = twice.render(Prompts.from_texts(texts)).token_ids
    ahead = 1 if genre == "repeat" else 3
    targets = np.asarray([grammar.encode(grammar.sample_answer(prompt, random)[0])[ahead - 1] for prompt in drawn])
    assert len(set(targets.tolist())) >= 4
    point = Point(5, "resid_post")
    rows = residuals(twice.base, starts, [[len(ids) - 1] for ids in starts], [point])[point]
    order = np.random.default_rng(0).permutation(len(drawn) // 2).repeat(2)
    (loss,) = held_out_losses([rows], targets, order % 2, order // 2 % 2 == 1, 16)
    assert least <= 1 - loss.probe.mean() / loss.prior.mean() <= most


def test_bridges_are_tokens_behind_unchanged_prompts(twice: Chain) -> None:
    prompts = of_templates("are-real-plain", "capital-plain", "joke-plain")
    bridged = with_bridges(twice, prompts)
    decoded = [twice.tuned.tokenizer.decode(list(ids)) for ids in bridged.bridges]
    assert {text.strip() for text in decoded} == {"I think so.", ""}
    assert bridged.numbers == list(range(8))
    assert bridged.candidates[1] == [2, 3, 0]


def test_prompts_without_templates_or_bridges_are_refused(twice: Chain) -> None:
    with pytest.raises(InputError, match="two or more"):
        probes(twice, of_templates("capital-plain"), FEW)
    with pytest.raises(InputError, match="no prompt has a `bridge`"):
        patches(twice, of_templates("joke-plain"), FEW)
    long = Prompts((Prompt("Are bugs real?", template="long", metadata={"bridge": " I think so." * 90}),))
    with pytest.raises(InputError, match="the context holds 256; shorten"):
        with_bridges(twice, long)
