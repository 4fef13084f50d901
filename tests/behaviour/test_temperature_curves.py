"""Is it a temperature: a stage that is one, the same checkpoint twice, and measures against plain loops."""

import json
import shutil

import numpy as np
import pytest
import torch
import xarray as xr
from safetensors.torch import load_file, save_file

from conftest import Build
from mcinterp.behaviour.temperature_curves.mode import PLACES, place_of, removing, without_mode
from mcinterp.behaviour.temperature_curves.rollouts import Branching, sequence_tempering_test
from mcinterp.behaviour.temperature_curves.scopes import temperature_scopes
from mcinterp.behaviour.temperature_curves.validity import pocket_judge, validity_curves
from mcinterp.chain import Chain, load_pair
from mcinterp.completions import Decoding, complete_many
from mcinterp.errors import InputError
from mcinterp.prompts import Prompts
from mcinterp.results import load, provenance_of, save, together
from mcinterp.samples import sample_stages
from mcinterp.show.behaviour.temperature_curves import picture
from mcinterp.summary.behaviour.temperature_curves import crossing, read_of, summary
from mcinterp.variables import variable

COLD = 0.7
TEXTS = ["Are bugs real?", "one", ">be me\n", "Pick a number:", "ab c", "Say it"]
PROMPTS = Prompts.from_texts(TEXTS, template=["a", "b", "c", "d", "e", "e"])


@pytest.fixture(scope="module")
def cooled(tiny: Build, tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """The tiny Llama beside itself with all logits divided by 0.7."""
    folder = tmp_path_factory.mktemp("cooled") / "cooled"
    shutil.copytree(tiny("llama"), folder)
    tensors = load_file(folder / "model.safetensors")
    tensors["lm_head.weight"] /= COLD
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return load_pair(str(tiny("llama")), str(folder), names=["base", "cooled"])


@pytest.fixture(scope="module")
def whole(cooled: Chain) -> xr.Dataset:
    return together(
        [
            validity_curves(cooled, PROMPTS, temperatures=(COLD, 1.0, 1.4), samples=3, steps=5),
            temperature_scopes(cooled, PROMPTS, steps=5),
            sequence_tempering_test(cooled, PROMPTS, Branching(samples=6, horizon=4, reach=4, least=0.002)),
            without_mode(cooled, PROMPTS, samples=3, steps=5),
        ],
        "temperature_curves",
    )


def test_a_cooled_base_is_all_temperature_in_every_scope(whole: xr.Dataset) -> None:
    one = whole.sel(stage="cooled")
    np.testing.assert_allclose(one["scope_beta"], 1 / COLD, atol=1e-4)
    explained = one["explained_kl_sum"] / one["kl_sum"]
    np.testing.assert_allclose(explained, 1.0, atol=1e-4)
    assert float((one["reordering_kl_sum"] / one["kl_sum"]).max()) < 1e-4
    for entry in summary(whole, draws=20)["scopes"]:
        assert entry["share"]["mean"] == pytest.approx(1.0, abs=1e-4)
        assert entry["completeness_error"] < 1e-5


def test_a_cooled_base_is_tempered_tokens_and_no_tempered_texts(whole: xr.Dataset) -> None:
    (found,) = [entry for entry in summary(whole, draws=50)["sequence"] if entry["genre"] == "all"]
    assert found["slope_log_prob"]["mean"] == pytest.approx(1 / COLD, rel=1e-3)
    assert found["slope_future"]["mean"] == pytest.approx(0.0, abs=1e-3)
    assert found["beyond_prediction"]["ci_low"] > 0.4
    assert found["r2_without_future"]["mean"] == pytest.approx(1.0, abs=1e-4)
    assert float(whole["slope_log_prob"].sel(stage="cooled")) == pytest.approx(1 / COLD, rel=1e-3)
    assert abs(found["slope_future_shuffled"]) < 1e-3


def test_a_cooled_base_writes_what_the_base_writes_at_that_temperature(whole: xr.Dataset) -> None:
    cold = whole["completion"].sel(stage="base", temperature=COLD).values
    assert (whole["completion"].sel(stage="cooled", temperature=1.0).values == cold).all()
    for name in ("base_nll", "sampled_entropy", "distinct"):
        values = whole[name].sel(stage="cooled", temperature=1.0), whole[name].sel(stage="base", temperature=COLD)
        np.testing.assert_allclose(*values, atol=1e-4)


def test_everything_has_a_unit_and_survives_a_file(whole: xr.Dataset, tmp_path) -> None:
    assert [name for name in whole.data_vars if variable(str(name)) is None] == []
    xr.testing.assert_equal(load(save(whole, tmp_path / "whole.nc")), whole)
    assert set(provenance_of(whole)) >= {"validity_curves", "temperature_scopes", "sequence_tempering", "without_mode"}


def test_the_picture_is_drawn_from_all_parts_or_some(whole: xr.Dataset) -> None:
    assert [len(row["hconcat"]) for row in picture(whole).to_dict()["vconcat"]] == [2, 3]
    curves = whole.drop_vars([name for name in whole.data_vars if "once" in str(name) or "kl" in str(name)])
    assert json.dumps(picture(curves.drop_vars("branch_log_prob")).to_dict())


def test_the_same_checkpoint_twice_leaves_nothing_to_explain(identical: Chain) -> None:
    found = temperature_scopes(identical, PROMPTS, steps=4)
    assert float(found["kl_sum"].max()) == 0.0
    assert float(abs(found["explained_kl_sum"]).max()) == 0.0
    test = sequence_tempering_test(identical, PROMPTS, Branching(samples=4, horizon=3, reach=3, least=0.002))
    assert test["slope_log_prob"].item() == pytest.approx(1.0, abs=1e-5)
    assert test["slope_future"].item() == pytest.approx(0.0, abs=1e-5)
    assert [entry["read"] for entry in summary(test, draws=20)["sequence"]] == ["unchanged"]


def test_curves_equal_what_sampling_says(pair: Chain) -> None:
    judged = validity_curves(
        pair, PROMPTS, temperatures=(1.0,), samples=2, steps=6, grammatical=lambda prompt, ids, ended: len(ids) > 5
    ).sel(temperature=1.0)
    plain = sample_stages(pair, pair.render(PROMPTS), Decoding(6, 1.0), samples=2)
    count = plain["n_tokens"].sum("sample")
    for name, each in (("base_nll", -plain["base_log_prob"]), ("sampled_entropy", plain["written_entropy"])):
        expected = (each.sum(["sample", "step"]) / count).transpose("stage", "prompt")
        np.testing.assert_allclose(judged[name].transpose("stage", "prompt"), expected, atol=1e-4)
    np.testing.assert_allclose(judged["grammatical_share"], (plain["n_tokens"] > 5).mean("sample"))
    texts = plain["completion"].values
    assert judged["distinct"].values.tolist() == [[len(set(each)) / 2 for each in stage] for stage in texts]


def test_the_pocket_grammar_judges_documents(pocket: Chain, pair: Chain) -> None:
    judge = pocket_judge(pocket)
    assert judge is not None
    assert pocket_judge(pair) is None
    encode = pocket.base.tokenizer
    prompt = encode("I flip a fair coin and it comes up").input_ids
    for text, ended, allowed in ((" heads.", True, True), (" heads", False, True), (" blue.", True, False)):
        assert judge(prompt, encode(text, add_special_tokens=False).input_ids, ended) is allowed


def test_without_removal_the_stage_writes_as_ever(pair: Chain) -> None:
    found = without_mode(pair, PROMPTS, samples=2, steps=5)
    none = found.sel(removal="none")
    nll = none["place_nll"].fillna(0.0) * none["place_share"]
    everywhere = np.isclose(none["place_share"].sum("place"), 1.0)
    assert everywhere.mean() > 0.5
    np.testing.assert_allclose(nll.sum("place").values[everywhere], none["removal_nll"].values[everywhere], atol=1e-4)
    assert found["removal"].values.tolist() == ["none", "above 0.9", "above 0.5", "mode"]
    assert float(found["removal_nll"].sel(stage="base", removal="mode").mean()) > float(
        found["removal_nll"].sel(stage="base", removal="none").mean()
    )


def test_removed_tokens_are_never_written_but_the_end_may_be(pair: Chain) -> None:
    end = next(iter(pair.tuned.end_tokens))
    logits = torch.tensor([[0.0] * 5, [0.0] * 5])
    logits[0, 3], logits[1, end] = 9.0, 9.0
    for bound in (0.0, 0.5):
        left = removing(pair.tuned, bound)(logits, ())
        assert left[0, 3] == -torch.inf
        assert left.isneginf().sum() == 1
    assert (removing(pair.tuned, 1.0)(logits, ()) == logits).all()


def test_one_token_without_the_mode_costs_what_a_plain_loop_says(pair: Chain) -> None:
    found = without_mode(pair, PROMPTS, samples=2, steps=4, seed=1).sel(stage="tuned", removal="mode")
    rendered = pair.render(PROMPTS)
    written = complete_many(pair.tuned, rendered.token_ids, Decoding(4, 1.0, seed=1), context=64, samples=1)
    decode = pair.tuned.tokenizer.decode
    for prompt, ids in enumerate(rendered.token_ids):
        sums: dict[str, list[float]] = {place: [] for place in PLACES}
        for step in range(len(written[prompt][0]) + 1):
            text = torch.tensor([[*ids, *written[prompt][0][:step]]])
            with torch.no_grad():
                q, p = (stage.bridge(text)[0, -1].double().log_softmax(-1) for stage in (pair.tuned, pair.base))
            mode = int(q.argmax())
            if mode in pair.tuned.end_tokens:
                continue
            q[mode] = -torch.inf
            place = place_of(decode([int(text[0, -1])]), decode([mode]))
            sums[place].append(float(-(q.softmax(-1) * p).sum()))
        for place, values in sums.items():
            one = float(found["once_nll"].sel(prompt=prompt, place=place))
            np.testing.assert_allclose(one, np.mean(values) if values else np.nan, atol=1e-3)


@pytest.mark.parametrize(
    ("previous", "token", "place"),
    [
        ("", "The", "word-initial"),
        ("The", " cat", "word-initial"),
        ("gr", "ey", "within-word"),
        ("don'", "t", "within-word"),
        ("cat", ".", "punctuation"),
        ("cat", "\n", "word-initial"),
        ("\n", "and", "word-initial"),
        ("4", "2", "within-word"),
    ],
)
def test_places_of_tokens(previous: str, token: str, place: str) -> None:
    assert place_of(previous, token) == place


def test_the_curve_is_crossed_between_two_temperatures() -> None:
    curve = np.array([[0.2, 0.5, 1.0], [0.4, 0.7, 2.0], [2.0, 1.0, 3.0]])
    temperatures = np.array([0.5, 1.0, 2.0])
    np.testing.assert_allclose(crossing(curve, temperatures, 0.3), [0.75, 0.6, 1.5])
    np.testing.assert_allclose(crossing(curve, temperatures, 0.4), [1.0, 0.7, 2.0])
    assert np.isnan(crossing(curve, temperatures, 0.1)).all()
    assert np.isnan(crossing(curve, temperatures, 3.0)).all()


@pytest.mark.parametrize(
    ("log_prob", "future", "beyond", "r2", "read"),
    [(2.0, 0.0, 1.0, 0.9, "tokens"), (2.0, -1.0, 0.0, 0.9, "texts"), (1.0, 0.0, 0.0, 0.9, "unchanged"),
     (2.0, -3.0, -2.0, 0.9, "neither"), (2.0, 0.0, 1.0, 0.1, "neither")],
)  # fmt: skip
def test_what_the_regression_says(log_prob: float, future: float, beyond: float, r2: float, read: str) -> None:
    names = ("slope_log_prob", "slope_future", "beyond_prediction", "r2")
    figures = {
        name: {"mean": value, "ci_low": value - 0.1, "ci_high": value + 0.1}
        for name, value in zip(names, (log_prob, future, beyond, r2), strict=True)
    }
    assert read_of(figures) == read


def test_bad_requests_are_refused(pair: Chain) -> None:
    with pytest.raises(InputError, match="rising ones above 0"):
        validity_curves(pair, PROMPTS, temperatures=(1.0, 0.5))
    with pytest.raises(InputError, match="2 or more samples"):
        validity_curves(pair, PROMPTS, samples=1)
    with pytest.raises(InputError, match="falling probabilities"):
        without_mode(pair, PROMPTS, thresholds=(0.5, 0.9))
    with pytest.raises(InputError, match="2 or more branches"):
        Branching(branches=1)
    alone = Chain(pair.stages[:1], pair.alignment)
    with pytest.raises(InputError, match="a chain of one stage"):
        temperature_scopes(alone, PROMPTS)
    with pytest.raises(InputError, match="different prompts"):
        together([temperature_scopes(pair, PROMPTS.select(rows), steps=2) for rows in ((0, 1), (1, 2))], "scopes")
