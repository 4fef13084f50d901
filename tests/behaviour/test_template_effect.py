"""Weights against template: known contrasts, cells equal to single passes, exact zeros on an identical pair."""

import numpy as np
import pytest
import torch
import xarray as xr

from mcinterp.behaviour.template_effect.contrasts import contrasts
from mcinterp.behaviour.template_effect.design import template_effect, template_keys
from mcinterp.chain import Chain, load_pair
from mcinterp.completions import Decoding
from mcinterp.errors import InputError
from mcinterp.intervene.patching import patch
from mcinterp.prompts import Prompts
from mcinterp.show.behaviour.template_effect import picture
from mcinterp.summary.behaviour.template_effect import MEASURES, summary

PROMPTS = Prompts.from_texts(["one", "Is it real?", "a: b"], template=["s", "t", "u"])
SHORT = Decoding(3, 1.0)


def test_contrasts_of_a_known_table() -> None:
    found = contrasts(np.array([[1.0, 2.0], [4.0, 9.0]]))
    assert tuple(map(float, found)) == (5.0, 3.0, 4.0)


def test_contrasts_rebuild_the_cell_that_has_both() -> None:
    cells = np.random.default_rng(0).normal(size=(5, 2, 2))
    weights, template, _ = contrasts(cells)
    np.testing.assert_allclose(cells[:, 1, 1], cells[:, 0, 0] + weights + template)


def test_cells_equal_single_passes(chain: Chain) -> None:
    found = template_effect(chain, PROMPTS, SHORT, samples=2)
    raw, chat = (chain.render(PROMPTS, rendering) for rendering in ("raw", "chat"))
    for prompt in range(3):
        with torch.no_grad():
            base = chain.base.bridge(torch.tensor([raw.token_ids[prompt]]))[0, -1].float().log_softmax(-1)
            q = chain.tuned.bridge(torch.tensor([chat.token_ids[prompt]]))[0, -1].float().log_softmax(-1)
        one = found.isel(stage=-1, prompt=prompt).sel(rendering="chat")
        assert float(one["entropy"]) == pytest.approx(float(-(q.exp() * q).sum()), abs=1e-4)
        assert float(one["kl_to_plain_base"]) == pytest.approx(float((q.exp() * (q - base)).sum()), abs=1e-4)
    plain = found.isel(stage=0).sel(rendering="raw")["kl_to_plain_base"]
    assert float(plain.max()) < 1e-5
    assert found["entropy"].dims == ("stage", "rendering", "prompt")


def test_effects_are_means_of_contrasts(chain: Chain) -> None:
    found = template_effect(chain, PROMPTS, SHORT, samples=2)
    figures = summary(found)
    mean = found["entropy"].mean("prompt").values
    for number, stage in ((1, "tuned"), (2, "later")):
        expected = contrasts(mean[[0, number]].astype(float))
        got = figures["effects"]["entropy"][stage]
        for effect in ("weights", "template", "interaction"):
            assert got[effect]["mean"] == pytest.approx(float(getattr(expected, effect)), abs=1e-5)
    assert set(figures["effects"]) == set(MEASURES)


def test_equal_weights_have_no_effect(tiny) -> None:
    same = load_pair(str(tiny("llama", "tuned")), str(tiny("llama", "tuned")))
    figures = summary(template_effect(same, PROMPTS, SHORT, samples=2))
    for one in figures["effects"].values():
        for changes in one.values():
            assert changes["weights"]["mean"] == 0
            assert changes["interaction"]["mean"] == 0


def test_keys_of_the_template_are_one_joint_patch(pair: Chain) -> None:
    found = template_keys(pair, PROMPTS, patched=("template", "all"))
    assert float(found["keys_noise_floor"]) < 1e-4
    expected = patch(
        pair, pair.render(PROMPTS, "chat"), sites=(("k", "v"),), layers=[0], window=3, positions="template",
        metrics=["entropy"], controls=False, interaction=False, engine="plain",
    )  # fmt: skip
    got = found["keys_entropy"].sel(patched="template").transpose("prompt", "direction")
    np.testing.assert_allclose(got, expected["entropy"].squeeze(["site", "layer"]).values, atol=1e-4)
    whole = xr.merge(
        [template_effect(pair, PROMPTS, SHORT, samples=2), found],
        combine_attrs="override",
        compat="override",
        join="exact",
    )
    keys = summary(whole)["keys"]["entropy"]
    assert set(keys) == {"base_to_tuned", "tuned_to_base"}
    assert set(keys["base_to_tuned"]) == {"template", "all"}
    assert len(picture(whole).to_dict()["vconcat"]) == 3


def test_a_chain_has_both_directions_of_every_stage(chain: Chain) -> None:
    found = template_keys(chain, PROMPTS, patched=("template",), controls=False)
    ways = ["base_to_tuned", "tuned_to_base", "base_to_later", "later_to_base"]
    assert found["direction"].values.tolist() == ways
    assert bool(found["keys_entropy"].notnull().all())


def test_a_chain_without_a_chat_template_is_refused(tiny) -> None:
    bare = load_pair(str(tiny("llama")), str(tiny("llama")))
    with pytest.raises(InputError, match="no stage has a chat template"):
        template_effect(bare, PROMPTS)
