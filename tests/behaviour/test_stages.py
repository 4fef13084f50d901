"""Headline measures along a chain: the gate's own rule, plain recounts, zeros where nothing changed."""

import numpy as np
import pytest
import xarray as xr

from mcinterp.behaviour.stages import stage_measures
from mcinterp.chain import Chain
from mcinterp.completions import Decoding
from mcinterp.errors import InputError
from mcinterp.localisation.gate import gate
from mcinterp.prompts import Prompts
from mcinterp.samples import sample_stages
from mcinterp.show.behaviour.stages import picture
from mcinterp.summary.behaviour.stages import MEASURES, headline, summary
from mcinterp.temperature import temperature_split

PROMPTS = Prompts.from_texts(
    ["one", "Are bugs real?", "Say it: a", "b", "two or more"], template=["s", "t", "u", "s", "t"]
)
SHORT = Decoding(4, 1.0)


@pytest.fixture(scope="module")
def found(chain: Chain) -> xr.Dataset:
    return stage_measures(chain, PROMPTS, SHORT, samples=3)


def test_collapsed_is_the_gates_rule_for_every_pair(found: xr.Dataset, chain: Chain) -> None:
    rendered = chain.render(PROMPTS)
    for number in (1, 2):
        pair = Chain((chain.base, chain.stages[number]), chain.alignment)
        expected = gate(pair, rendered, at="last").table
        np.testing.assert_array_equal(found["collapsed"].values[number], expected["collapsed"])
        np.testing.assert_allclose(found["entropy"].values[number], expected["entropy_tuned"], atol=1e-5)
        np.testing.assert_allclose(found["kl_stage_to_base"].values[number], expected["kl_tuned_to_base"], atol=1e-5)
    assert (found["collapsed"].values[0] == 0).all()


def test_a_temperature_counts_only_where_beta_is_above_zero(found: xr.Dataset, chain: Chain) -> None:
    split = temperature_split(chain, chain.render(PROMPTS), positions="last", output_only=True)
    last = split.isel(lens=0, layer=-1).sel(position=0, site="resid_post").transpose("stage", "prompt", ...)
    beta, part = last["beta"].values, last["temperature_kl"].values
    np.testing.assert_allclose(found["temperature_part"].values[1:], np.where(beta > 0, part, 0), atol=1e-6)
    assert bool((found["temperature_part"] <= found["kl_stage_to_base"] + 1e-5).all())
    classes = last["shift_class"].values
    np.testing.assert_array_equal(found["shift_class"].values[1:], classes)
    assert (found["shift_class"].values[0] == 0).all()


def test_samples_are_recounted(found: xr.Dataset, chain: Chain) -> None:
    samples = sample_stages(chain, chain.render(PROMPTS), SHORT, samples=3)
    for stage in range(3):
        for prompt in range(5):
            one = samples.isel(stage=stage, prompt=prompt)
            expected = len(set(one["completion"].values.tolist())) / 3
            assert float(found["distinct"][stage, prompt]) == pytest.approx(expected)
            surprise = one["base_log_prob"].values
            assert float(found["base_nll"][stage, prompt]) == pytest.approx(-float(np.nanmean(surprise)), abs=1e-5)


def test_equal_stages_take_no_step(identical: Chain) -> None:
    figures = summary(stage_measures(identical, PROMPTS, SHORT, samples=2))
    for name in MEASURES:
        for step in figures["steps"][name].values():
            assert name == "temperature_share" or step == {"mean": 0.0, "ci_low": 0.0, "ci_high": 0.0}
    assert list(figures["levels"]["collapsed"].values())[-1]["mean"] == 0


def test_levels_and_steps_are_means_and_their_differences(found: xr.Dataset) -> None:
    figures = summary(found)
    names = figures["stages"]
    mean = found["entropy"].mean("prompt").values
    assert [figures["levels"]["entropy"][name]["mean"] for name in names] == pytest.approx(mean.tolist(), abs=1e-5)
    steps = [one["mean"] for one in figures["steps"]["entropy"].values()]
    assert steps == pytest.approx(np.diff(mean).tolist(), abs=1e-5)
    assert list(figures["steps"]["entropy"]) == ["base to tuned", "tuned to later"]
    shares = found["temperature_part"].sum("prompt") / found["kl_stage_to_base"].sum("prompt")
    levels = figures["levels"]["temperature_share"]
    assert levels["later"]["mean"] == pytest.approx(float(shares[2]), abs=1e-5)
    assert np.isnan(levels["base"]["mean"])
    classes = [figures["levels"][name]["tuned"]["mean"] for name in ("unshifted", "marginal", "shifted")]
    assert sum(classes) == pytest.approx(1.0)


def test_table_and_picture(found: xr.Dataset) -> None:
    rows = {line.split(" | ")[0].strip("| "): line for line in headline(summary(found)).split("\n")}
    assert rows[MEASURES["temperature_share"]].split(" | ")[1] == ""
    assert set(MEASURES.values()) < set(rows)
    assert len(picture(found).to_dict()["vconcat"]) == 2


def test_another_place_is_refused(chain: Chain) -> None:
    with pytest.raises(InputError, match="give one of last, divergence, sequence"):
        stage_measures(chain, PROMPTS, at="first")
