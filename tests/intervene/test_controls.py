"""Controls: they hold where they should, they can fail, and each is the run that its name says."""

from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from patching_reference import BARE, HOOKS, NATS, activations, encoded, log_probs, putting, sites_of, tiny_pair

import mcinterp
from conftest import SHAPES, Build
from mcinterp.chain import Chain
from mcinterp.intervene import probe
from mcinterp.intervene.dissection import KeyStore
from mcinterp.intervene.donors import Draw, replacement
from mcinterp.intervene.editing import Editor
from mcinterp.intervene.plain import plain_ends
from mcinterp.intervene.plan import Batch, Plan, partners_of
from mcinterp.intervene.sweep import Ends
from mcinterp.prompts import Prompts
from mcinterp.sequences import with_completions

TEXTS = ["Are bugs real?", "abc", "Pick a number:", "abcdefghijklmn"]
SLOW = "patching runs one forward pass per cell, which is slow"


def entropy(logs: torch.Tensor) -> float:
    return float(torch.distributions.Categorical(logits=logs).entropy())


def largest_difference(one: xr.Dataset, other: xr.Dataset, name: str = "entropy") -> float:
    return float(abs(one[name] - other[name]).max())


@pytest.mark.parametrize(
    ("architecture", "positions"), [*((name, "all") for name in SHAPES), ("gemma2", "each"), ("gpt_neox", "each")]
)
def test_own_activations_put_back_change_nothing(tiny: Build, architecture: str, positions: str) -> None:
    pair = tiny_pair(tiny, architecture)
    sites = (*sites_of(pair.base), "kv", ("attn_out", "mlp_out"))
    result = mcinterp.patch(
        pair, TEXTS[:2], sites=sites, layers=[0, 2], positions=positions, interaction=False, engine="fast"
    )
    assert result.attrs["noise_floor"] <= 1e-5
    for name in NATS:
        noop = result[f"{name}_control"].sel(control="noop")
        assert float(abs(noop - result[f"{name}_recipient"]).max()) <= 1e-5
        assert noop.notnull().sum() == result[name].notnull().sum() > 0
    assert float(abs(result["entropy"] - result["entropy_recipient"]).max()) > 1e-2


def wrong_values(keys: KeyStore, *given: Any, **named: Any) -> Any:
    found = good_update(keys, *given, **named)
    return found[0], found[1] * 1.01


good_put, good_update = Editor.put, KeyStore.update


def test_edits_that_are_put_wrongly_show_in_the_noise_floor_and_are_left_for_the_plain_loop(
    pair: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(self: Editor, activation: torch.Tensor, place: Any, targets: Any, values: Any, part: Any) -> None:
        good_put(self, activation, place, targets, values * 1.01, part)

    options: dict[str, Any] = {"sites": ["resid_pre", "z"], "interaction": False}
    plain = mcinterp.patch(pair, TEXTS[:2], engine="plain", **options)
    assert mcinterp.patch(pair, TEXTS[:2], **options).attrs["engine"] == "fast"
    monkeypatch.setattr(Editor, "put", wrong)
    fast = mcinterp.patch(pair, TEXTS[:2], engine="fast", verify=20, **options)
    assert fast.attrs["noise_floor"] > 1e-4
    assert fast.attrs["verified_difference"] > 1e-4
    with pytest.warns(UserWarning, match=f"{SLOW}: own activations put back changed a result by"):
        auto = mcinterp.patch(pair, TEXTS[:2], **options)
    assert (auto.attrs["engine"], auto.attrs["noise_floor"] <= 1e-5) == ("plain", True)
    assert largest_difference(auto, plain) == 0.0
    assert largest_difference(fast, plain) > 1e-4


def test_a_layer_that_runs_wrongly_on_its_own_is_noticed_before_any_patch(
    pair: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    mcinterp.patch(pair, TEXTS[:2], sites=["z"], **BARE)
    monkeypatch.setattr(KeyStore, "update", wrong_values)
    ids = encoded(pair, TEXTS[0])
    assert "layer by layer its log-probabilities differ by" in str(probe.first_difference(pair.base, ids))
    assert mcinterp.patch(pair, TEXTS[:2], sites=["z"], verify=5, **BARE).attrs["verified_difference"] > 1e-4
    monkeypatch.undo()
    assert probe.first_difference(pair.base, ids) is None


def test_a_random_step_is_as_long_as_the_donors() -> None:
    draws = [Draw(0, 1, "z", 2, column, None) for column in (3, 5)]
    own, donor = torch.randn(2, 3, 7), torch.randn(2, 3, 7)
    moved = replacement("stage", own, donor, draws, random=True)
    torch.testing.assert_close((moved - own).flatten(1).norm(dim=1), (donor - own).flatten(1).norm(dim=1))
    assert torch.equal(moved, replacement("stage", own, donor, draws, random=True))
    assert float((moved - donor).abs().min()) > 0
    zero = replacement("zero", own, None, draws, random=True)
    torch.testing.assert_close((zero - own).flatten(1).norm(dim=1), own.flatten(1).norm(dim=1))


@pytest.mark.parametrize(
    ("site", "head", "donor"),
    [
        *[(*each, "same") for each in (("resid_pre", None), ("z", 2), ("k", 1), ("pattern", None))],
        *[(*each, "mean") for each in (("resid_pre", None), ("k", 1))],
        *[(*each, "zero") for each in (("resid_pre", None), ("z", 2), ("pattern", None))],
    ],
)
def test_the_random_control_moves_as_far_as_the_patch(pair: Chain, site: str, head: int | None, donor: Any) -> None:
    heads = None if head is None else [head]
    result = mcinterp.patch(
        pair, TEXTS, sites=[site], layers=1, heads=heads, donor=donor, positions=[-1, 0], interaction=False, seed=5
    )
    name, prompt = HOOKS[site].format(1), 2
    every = [activations(pair.base, encoded(pair, text))[name][0] for text in TEXTS]
    own = activations(pair.tuned, encoded(pair, TEXTS[prompt]))[name].clone()
    given = own.clone()
    for place in (-1, -2):
        column = own.shape[2 if site == "pattern" else 1] + place
        at = (0, slice(None), column) if site == "pattern" else (0, column)
        mine = own[at] if head is None else own[at][head : head + 1]
        asked = torch.stack([each[place] for each in every]).mean(0) if donor == "mean" else every[prompt][at[1:]]
        asked = torch.zeros_like(own[at]) if donor == "zero" else asked
        asked = asked if head is None else asked[head : head + 1]
        part = None if head is None else (head,)
        used = column + 1 if site == "pattern" else mine.shape[-1]
        step = torch.from_numpy(Draw(5, prompt, site, 1, column, part).direction(mine.shape, used))
        given[at if head is None else (*at, slice(head, head + 1))] = mine + step * (asked - mine).norm() / step.norm()
    ids = encoded(pair, TEXTS[prompt])
    q = log_probs(pair.tuned, ids, [putting(name, given, [len(ids) - 2, len(ids) - 1], heads)])[-1]
    cell = result["entropy_control"].sel(control="random", direction="base_to_tuned").isel(prompt=prompt).squeeze()
    assert float(cell) == pytest.approx(entropy(q), abs=1e-4)


def test_the_shuffled_donor_is_the_donors_run_on_another_prompt(pair: Chain) -> None:
    sites = ["resid_post", "attn_out", "kv"]
    result = mcinterp.patch(pair, TEXTS, sites=sites, positions=slice(-2, 1), interaction=False)
    rendered = pair.render(Prompts.from_texts(TEXTS))
    partners = partners_of(with_completions(pair, rendered, [()] * len(TEXTS)))
    for prompt, text in enumerate(TEXTS):
        partner = TEXTS[partners[prompt]]
        assert partner != text
        ids, shift = encoded(pair, text), len(partner) - len(text)
        theirs = activations(pair.tuned, encoded(pair, partner))
        for site in sites:
            names = [HOOKS[each].format(1) for each in ({"kv": ("k", "v")}.get(site, (site,)))]
            hooks = [putting(name, theirs[name].roll(-shift, 1), range(len(ids) - 3, len(ids))) for name in names]
            cell = result["entropy_control"].sel(control="shuffled", direction="tuned_to_base", site=site, layer=1)
            assert float(cell.isel(prompt=prompt)) == pytest.approx(
                entropy(log_probs(pair.base, ids, hooks)[-1]), abs=1e-4
            )


def test_partners_are_foreign_and_near_in_length(pair: Chain) -> None:
    texts = ["aaaa", "bbbb", "cccc", "ddddd", "ee", "aaaa", "ffffffff"]
    templates = ["x", "x", "y", "x", "z", "y", "x"]
    rendered = pair.render(Prompts.from_texts(texts, template=templates))
    partners = partners_of(with_completions(pair, rendered, [()] * len(texts)))
    for prompt, partner in partners.items():
        others = [
            (
                len(texts[o]) < len(texts[prompt]),
                templates[o] == templates[prompt],
                abs(len(texts[o]) - len(texts[prompt])),
            )
            for o in range(len(texts))
            if texts[o] != texts[prompt]
        ]
        found = (
            len(texts[partner]) < len(texts[prompt]),
            templates[partner] == templates[prompt],
            abs(len(texts[partner]) - len(texts[prompt])),
        )
        assert found == min(others), (texts[prompt], texts[partner])
    assert len(partners) == len(texts)
    alone = pair.render(Prompts.from_texts(["aa", "aa"]))
    assert partners_of(with_completions(pair, alone, [(), ()])) == {}


def test_a_lone_prompt_has_no_shuffled_control(pair: Chain) -> None:
    result = mcinterp.patch(pair, TEXTS[:1], sites=["z"], interaction=False)
    control = result["entropy_control"]
    assert np.isnan(control.sel(control="shuffled")).all()
    assert control.sel(control=["noop", "random"]).notnull().all()


def test_a_prompt_whose_runs_are_spread_over_batches_keeps_its_ends(chain: Chain) -> None:
    """A batch without some stages must not overwrite what another batch read of their clean runs."""
    directions = [f"{one}_to_{other}" for one in chain.names for other in chain.names if one != other]
    asked = {"sites": ("resid_pre",), "layers": 0, "positions": "all", "directions": directions, "interaction": False}
    whole = mcinterp.patch(chain, TEXTS[:2], engine="fast", **asked)
    for room in (2**13, 2**15, 2**16):
        split = mcinterp.patch(chain, TEXTS[:2], engine="fast", max_bytes=room, **asked)
        assert split.attrs["noise_floor"] < 1e-5
        for name in whole.data_vars:
            if whole[name].dtype.kind == "f":
                np.testing.assert_allclose(split[name], whole[name], atol=1e-4, err_msg=str(name))


def test_a_verified_cell_follows_the_token_of_the_sweep(pair: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where two tokens are all but equally likely, the plain engine's rounding may put the other one first."""

    def tipped(plan: Plan, batch: Batch) -> Ends:
        ends = plain_ends(plan, batch)
        tuned = ends.by_stage[1]
        first, second = tuned.topk(2).indices.unbind(-1)
        likeliest, next_one = tuned.topk(2).values.unbind(-1)
        tuned.scatter_(-1, first[..., None], next_one[..., None]).scatter_(-1, second[..., None], likeliest[..., None])
        return ends

    monkeypatch.setattr("mcinterp.intervene.plain.plain_ends", tipped)
    followed = ["entropy", "attractor_log_prob", "attractor_log_odds"]
    verified = mcinterp.patch(pair, TEXTS[:2], verify=5, metrics=followed, **BARE)
    assert verified.attrs["verified_difference"] < 1e-4
