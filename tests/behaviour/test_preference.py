"""Order of preference along texts: a stage against itself, a plain loop, and what is known of the shipped chain."""

import json

import numpy as np
import pytest
import torch
import xarray as xr

from mcinterp import divergence, sharpening
from mcinterp.behaviour.preference import measures
from mcinterp.behaviour.preference.order import check, preference_order
from mcinterp.chain import Chain
from mcinterp.completions import Decoding, complete
from mcinterp.errors import InputError
from mcinterp.landmarks import final_distribution
from mcinterp.organisms.genres import all_prompts
from mcinterp.prompts import Prompt, Prompts
from mcinterp.results import provenance_of
from mcinterp.sequences import teacher_force
from mcinterp.show.behaviour.preference import picture
from mcinterp.show.theme import BASE, TUNED
from mcinterp.summary.behaviour.preference import summary
from mcinterp.temperature import temperature_split
from mcinterp.variables import VARIABLES

TEXTS = ["Are bugs real?", "one", ">be me\n"]
PROMPTS = Prompts(
    tuple(Prompt(text, template=text[:3], metadata={"genre": "g", "held_out": n == 1}) for n, text in enumerate(TEXTS))
)
STEPS = Decoding(5)
SHARED = ("rank_under_base", "shift_class", "kendall_tau", "top_k_jaccard")
POCKET = Prompts.battery("preference-pocket")


@pytest.fixture(scope="module")
def found(chain: Chain) -> xr.Dataset:
    """The tiny chain of three stages, along both texts."""
    return preference_order(chain, PROMPTS, STEPS)


def test_an_identical_pair_keeps_every_preference(identical: Chain) -> None:
    found = preference_order(identical, PROMPTS, STEPS)
    there = found["rank_under_base"] >= 0
    assert bool((found["rank_under_base"].where(there, 1) == 1).all())
    assert set(np.unique(found["shift_class"])) <= {-1, 0}
    np.testing.assert_array_equal(found["kendall_tau"].values[there.values], 1.0)
    np.testing.assert_array_equal(found["top_k_jaccard"].values[there.values], 1.0)
    for name in ("log_prob_change", "mass_change", "raised_share", "greedy_gap"):
        assert float(abs(found[name]).max()) == 0.0
    np.testing.assert_array_equal(found["mass_change"].sel(along="own"), found["mass_change"].sel(along="base"))


@pytest.mark.parametrize("along", ["own", "base"])
def test_every_cell_is_that_of_plain_forward_passes(chain: Chain, found: xr.Dataset, along: str) -> None:
    base, later = chain.base, chain.stage("later")
    ids = chain.render(PROMPTS).token_ids
    bins = measures.rank_bins(chain.alignment.vocabulary)
    written = complete(later if along == "own" else base, ids, STEPS, context=chain.alignment.context)
    for index, (prompt, completion) in enumerate(zip(ids, written, strict=True)):
        with torch.inference_mode():
            p, q = (s.bridge(torch.tensor([[*prompt, *completion]]))[0].log_softmax(-1) for s in (base, later))
        p, q = p[len(prompt) - 1 :], q[len(prompt) - 1 :]
        one = found.sel(stage="later", along=along, prompt=index)
        length = len(completion) + 1
        greedy = q.argmax(-1)
        rank = [1 + int((row > row[token]).sum()) for row, token in zip(p, greedy.tolist(), strict=True)]
        assert one["rank_under_base"].values.tolist() == rank + [-1] * (6 - length)
        assert one["shift_class"].values[:length].tolist() == [0 if r == 1 else 1 if r < 4 else 2 for r in rank]
        gap = (p.max(-1).values - divergence.token_log_prob(p, greedy)).numpy()
        np.testing.assert_allclose(one["greedy_gap"].values[:length], gap, atol=1e-4)
        np.testing.assert_allclose(one["kendall_tau"].values[:length], sharpening.kendall_tau(q, p, 10), atol=1e-6)
        change = measures.by_base_rank(q, p, bins)
        for name, value in change._asdict().items():
            np.testing.assert_allclose(one[name].values[:length], value, atol=1e-3)
            assert np.isnan(one[name].values[length:]).all()
        ends = [token in base.end_tokens | later.end_tokens for token in greedy.tolist()]
        assert one["greedy_ends"].values[:length].tolist() == [float(end) for end in ends]


def test_classes_and_orders_are_those_of_the_temperature_split(chain: Chain, found: xr.Dataset) -> None:
    sequences = teacher_force(chain, chain.render(PROMPTS), STEPS)
    split = final_distribution(temperature_split(chain, sequences, positions="completion", output_only=True))
    split = split.sel(stage="later", position=found["position"])
    for name in SHARED:
        np.testing.assert_allclose(found[name].sel(stage="later", along="own"), split[name], atol=1e-5)


def test_mass_only_moves(found: xr.Dataset) -> None:
    there = (found["shift_class"] >= 0).values
    np.testing.assert_allclose(found["mass_change"].sum("base_rank").values[there], 0.0, atol=1e-6)


def test_small_chunks_give_the_same(chain: Chain, found: xr.Dataset) -> None:
    tight = preference_order(chain, PROMPTS, STEPS, max_bytes=10_000)
    for name in found.data_vars:
        np.testing.assert_allclose(tight[name], found[name], atol=1e-5, err_msg=str(name))


def test_one_text_alone_is_the_same(chain: Chain, found: xr.Dataset) -> None:
    alone = preference_order(chain, PROMPTS, STEPS, along=["base"])
    assert alone["along"].values.tolist() == ["base"]
    np.testing.assert_array_equal(alone["shift_class"], found["shift_class"].sel(along=["base"]))
    assert "own" not in picture(alone).to_json()


def test_every_variable_is_described_and_the_prompts_say_what_they_are(found: xr.Dataset) -> None:
    assert {str(name) for name in found.data_vars} <= set(VARIABLES)
    assert found["log_prob_change"].dims == ("stage", "along", "prompt", "position", "base_rank")
    assert found["log_prob_change"].dtype == np.float32
    assert found["held_out"].values.tolist() == [False, True, False]
    assert provenance_of(found)["classes"] == list(sharpening.SHIFT_CLASSES)
    assert set(provenance_of(found)["texts_sha256"]) == {"base", "tuned", "later"}


def test_a_chat_template_and_both_renderings(pair: Chain) -> None:
    both = preference_order(pair, PROMPTS, Decoding(2), rendering="both")
    assert both["rendering"].values.tolist() == ["raw"] * 3 + ["chat"] * 3
    assert both["held_out"].values.tolist() == [False, True, False] * 2


def test_the_summary_is_means_over_prompts(found: xr.Dataset) -> None:
    told = summary(found, draws=30)
    one = found.sel(stage="tuned", along="own")
    classes, ends = one["shift_class"].values, one["greedy_ends"].values
    shares = []
    for row, ending in zip(classes, ends, strict=True):
        kept = row[(row >= 0) & (ending == 0)]
        shares.append((kept == 2).mean() if len(kept) else np.nan)
    entry = told["all"]["tuned"]["own"]["all"]
    assert entry["shifted"]["mean"] == pytest.approx(np.nanmean(shares))
    assert sum(entry[name]["mean"] for name in sharpening.SHIFT_CLASSES) == pytest.approx(1.0)
    first = told["all"]["tuned"]["own"]["first"]["by_base_rank"]["4-10"]["log_prob_change"]["mean"]
    assert first == pytest.approx(float(one["log_prob_change"].sel(position=0, base_rank="4-10").mean()), abs=1e-5)
    held = told["held_out"]["later"]["base"]["first"]["greedy_gap"]
    gap = found["greedy_gap"].sel(stage="later", along="base", prompt=1, position=0)
    assert held["mean"] == pytest.approx(float(gap), abs=1e-6)
    assert np.isnan(held["ci_low"])


def test_tokens_that_end_the_text_are_counted_apart(found: xr.Dataset) -> None:
    ended = found.copy(deep=True)
    ended["greedy_ends"] = ended["greedy_ends"] * 0.0
    ended["greedy_ends"][:, :, :, 2] = 1.0
    entry = summary(ended, draws=10)["all"]["tuned"]["base"]["all"]
    there = found.sel(stage="tuned", along="base")["shift_class"].values >= 0
    assert entry["ending"]["n_tokens"] == there[:, 2].sum()
    assert entry["n_tokens"] == there.sum() - there[:, 2].sum()


def test_sft_shifts_the_first_token_of_opinions_and_not_the_later_ones(pocket: Chain) -> None:
    pair = Chain((pocket.base, pocket.stage("sft")), pocket.alignment)
    opinions = [i for i, p in enumerate(POCKET.items) if p.metadata["genre"] == "opinion" and p.metadata["held_out"]]
    found = preference_order(pair, POCKET.select(opinions[:8]), Decoding(12), along=["own"])
    told = summary(found, draws=20)["all"]["sft"]["own"]
    assert told["first"]["shifted"]["mean"] > 0.5
    assert told["later"]["unshifted"]["mean"] > 0.9
    assert told["first"]["by_base_rank"]["1"]["mass_change"]["mean"] < 0.0
    drawn = json.dumps(picture(found).to_dict())
    assert TUNED in drawn.upper()
    assert BASE in drawn


@pytest.mark.parametrize(
    ("along", "top", "message"),
    [
        (("tuned",), 10, r"got along=\['tuned'\]; give some of own, base"),
        ((), 10, r"got along=\[\]"),
        (("own",), 1, "got top=1, which leaves no two tokens"),
    ],
)
def test_bad_settings_are_refused(pair: Chain, along: tuple[str, ...], top: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check(pair, along, top)
    with pytest.raises(InputError, match="a chain of one stage"):
        check(Chain((pair.base,), pair.alignment), ("own",), 10)


def test_the_pocket_battery_comes_from_every_template_of_the_grammar() -> None:
    known = {prompt.text: prompt for prompt in all_prompts()}
    for prompt in POCKET.items:
        truth = known[prompt.text]
        mine = (prompt.template, prompt.metadata["genre"], prompt.metadata["held_out"])
        assert mine == (truth.template, truth.genre, truth.held_out)
    sides = {(prompt.template, prompt.held_out) for prompt in known.values()}
    assert {(prompt.template, prompt.metadata["held_out"]) for prompt in POCKET.items} == sides


def test_the_battery_for_real_models_is_wide_and_holds_templates_out() -> None:
    battery = Prompts.battery("preference")
    assert len(battery) >= 100
    sides = {(prompt.template, prompt.metadata["held_out"]) for prompt in battery.items}
    assert len(sides) == len(set(battery.templates)) >= 10
    assert 4 <= sum(bool(side) for _, side in sides) <= len(sides) / 2
    assert all(prompt.metadata["genre"] for prompt in battery.items)
