"""The temperature split of a chain: a stage that is a temperature, an identical one, and the models' own outputs."""

import shutil

import numpy as np
import pytest
import torch
import xarray as xr
from safetensors.torch import load_file, save_file

from conftest import SHAPES, Build
from mcinterp import sharpening
from mcinterp.chain import Chain, load_pair
from mcinterp.completions import Decoding
from mcinterp.errors import InputError
from mcinterp.landmarks import final_distribution
from mcinterp.lens import common_lens, logit_lens, own_lens
from mcinterp.prompts import Prompts
from mcinterp.results import provenance_of
from mcinterp.sequences import Sequences, teacher_force
from mcinterp.temperature import check, temperature_split
from mcinterp.variables import VARIABLES

TEXTS = ["Are bugs real?", "one", ">be me\n", "Pick a number:"]
BETA = 1.75


def completed(chain: Chain, texts: list[str] = TEXTS, steps: int = 5) -> Sequences:
    """Prompts and the tuned stage's greedy completions."""
    return teacher_force(chain, chain.render(Prompts.from_texts(texts)), Decoding(steps))


def output_log_probs(chain: Chain, ids: tuple[int, ...]) -> list[torch.Tensor]:
    """Every stage's own log-probabilities after every token of a text."""
    with torch.inference_mode():
        return [stage.bridge(torch.tensor([ids]))[0].log_softmax(-1) for stage in chain.stages]


@pytest.fixture(scope="module")
def split(chain: Chain) -> xr.Dataset:
    """The split of the tiny chain along completions."""
    return temperature_split(chain, completed(chain), positions="completion")


@pytest.fixture(scope="module")
def cooled(tiny: Build, tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """The tiny Llama beside itself at temperature 1 / BETA: all logits times BETA."""
    folder = tmp_path_factory.mktemp("cooled") / "cooled"
    shutil.copytree(tiny("llama"), folder)
    tensors = load_file(folder / "model.safetensors")
    tensors["lm_head.weight"] *= BETA
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return load_pair(str(tiny("llama")), str(folder), names=["base", "cooled"])


def test_a_cooled_stage_is_a_temperature_at_every_layer_token_and_pool(cooled: Chain) -> None:
    split = temperature_split(cooled, completed(cooled), positions="completion").sel(stage="cooled", lens="own")
    for name in ("beta", "beta_prompt", "beta_global"):
        values = split[name].values[np.isfinite(split[name].values)]
        np.testing.assert_allclose(values, BETA, atol=1e-4)
    for name in ("temperature_share", "temperature_share_prompt", "temperature_share_global", "is_temperature"):
        values = split[name].values[np.isfinite(split[name].values)]
        np.testing.assert_allclose(values, 1.0, atol=1e-5)
    assert float(split["reordering_kl"].max()) < 1e-6
    assert split["rank_under_base"].max() == 1
    assert split["shift_class"].max() == 0
    np.testing.assert_array_equal(np.unique(split["kendall_tau"]), [1.0, np.nan])


def test_the_common_lens_does_not_see_a_changed_unembedding(cooled: Chain) -> None:
    split = temperature_split(cooled, TEXTS, lenses=[common_lens(cooled)])
    assert float(split["kl_stage_to_base"].max()) == 0.0
    assert bool(split["temperature_share"].isnull().all())
    assert bool(split["is_temperature"].isnull().all())


def test_an_identical_pair_gives_exact_zeros(identical: Chain) -> None:
    split = temperature_split(identical, completed(identical), positions="all")
    for name in ("kl_stage_to_base", "temperature_kl", "frequency_kl", "reordering_kl", "capped"):
        assert float(abs(split[name]).max()) == 0.0
    assert float(split["beta_global"].min()) == float(split["beta_prompt"].max()) == 1.0
    assert bool(split["temperature_share_global"].isnull().all())


@pytest.mark.parametrize("architecture", SHAPES)
def test_the_output_is_split_as_the_models_own_log_probs_are(tiny: Build, architecture: str) -> None:
    pair = load_pair(str(tiny(architecture)), str(tiny(architecture, "tuned")))
    found = final_distribution(temperature_split(pair, TEXTS)).isel(stage=0)
    both = [output_log_probs(pair, ids) for ids in pair.render(Prompts.from_texts(TEXTS)).token_ids]
    p, q = (torch.stack([each[s][-1] for each in both]) for s in range(2))
    u = p.exp().mean(0).log()
    expected = sharpening.split_kl(q, p, u)
    at = found.sel(position=0)
    np.testing.assert_allclose(at["beta"], expected.beta, atol=2e-3, rtol=2e-3)
    np.testing.assert_allclose(at["gamma"], expected.gamma, atol=2e-3, rtol=2e-3)
    for name, value in (
        ("kl_stage_to_base", expected.kl),
        ("temperature_kl", expected.temperature),
        ("frequency_kl", expected.frequency),
        ("reordering_kl", expected.reordering),
    ):
        np.testing.assert_allclose(at[name], value, atol=2e-5)
    best = q.argmax(-1)
    rank = [1 + int((row > row[token]).sum()) for row, token in zip(p, best.tolist(), strict=True)]
    np.testing.assert_array_equal(at["rank_under_base"], rank)


def test_divergences_are_the_logit_lenses_at_every_point(chain: Chain, split: xr.Dataset) -> None:
    lens = logit_lens(chain, completed(chain), lenses=[own_lens(chain)], positions="completion")
    expected = lens["kl_stage_to_base"].sel(stage=["tuned", "later"])
    np.testing.assert_allclose(split["kl_stage_to_base"], expected, atol=2e-5)
    np.testing.assert_array_equal(np.isfinite(split["beta"]), np.isfinite(expected))
    parts = split["temperature_kl"] + split["frequency_kl"] + split["reordering_kl"]
    np.testing.assert_allclose(parts, split["kl_stage_to_base"], atol=1e-6)
    np.testing.assert_array_equal(split["rank_under_base"].values < 0, np.isnan(expected))


def test_pooled_betas_are_those_of_all_rows_at_once(chain: Chain, split: xr.Dataset) -> None:
    sequences = completed(chain)
    rows = []
    for index, ids in enumerate(sequences.ids):
        base, _, later = output_log_probs(chain, ids)
        first = len(sequences.prompts.token_ids[index]) - 1
        rows.append((later[first:], base[first:], torch.full((len(ids) - first,), index)))
    by_prompt = sharpening.pooled_beta(rows, len(TEXTS))
    together = sharpening.pooled_beta([(q, p, 0 * group) for q, p, group in rows], 1)
    output = split.sel(stage="later", lens="own", site="resid_post").isel(layer=-1)
    np.testing.assert_allclose(output["beta_prompt"], by_prompt.beta, atol=1e-3)
    np.testing.assert_allclose(output["temperature_share_prompt"], by_prompt.share, atol=1e-3)
    assert float(output["beta_global"]) == pytest.approx(float(together.beta), abs=1e-3)
    assert float(output["temperature_share_global"]) == pytest.approx(float(together.share), abs=1e-3)


def test_a_small_budget_gives_the_same_numbers(chain: Chain, split: xr.Dataset) -> None:
    tight = temperature_split(chain, completed(chain), positions="completion", max_bytes=40_000)
    for name in split.data_vars:
        np.testing.assert_allclose(tight[name], split[name], atol=1e-4, rtol=1e-4, err_msg=str(name))


def test_a_prompt_is_the_same_alone_where_the_frequency_is_given(chain: Chain) -> None:
    frequency = np.linspace(1.0, 3.0, chain.alignment.vocabulary)
    whole = temperature_split(chain, completed(chain), positions="completion", frequency=frequency)
    alone = temperature_split(chain, completed(chain, ["one"]), positions="completion", frequency=10 * frequency)
    beside = whole.isel(prompt=1).sel(position=alone["position"])
    for name in ("kl_stage_to_base", "temperature_kl", "frequency_kl", "reordering_kl", "temperature_share_prompt"):
        np.testing.assert_allclose(alone[name].isel(prompt=0), beside[name], atol=2e-4)
    default = temperature_split(chain, completed(chain), positions="completion")
    assert float(abs(default["frequency_kl"] - whole["frequency_kl"]).max()) > 1e-3


def test_the_output_alone_is_the_output_of_the_whole(chain: Chain, split: xr.Dataset) -> None:
    alone = temperature_split(chain, completed(chain), positions="completion", output_only=True)
    for name in ("beta", "reordering_kl", "beta_global", "top_k_jaccard"):
        np.testing.assert_allclose(final_distribution(alone)[name], final_distribution(split)[name], atol=1e-5)
        assert bool(alone[name].isel(layer=0).isnull().all())


def test_every_variable_has_a_unit_and_the_tokens_come_along(chain: Chain, split: xr.Dataset) -> None:
    assert {str(name) for name in split.data_vars} <= set(VARIABLES)
    assert split["temperature_kl"].attrs["units"] == "nats"
    assert split["beta_prompt"].dims == ("lens", "stage", "prompt", "layer", "site")
    assert split["beta_global"].dims == ("lens", "stage", "layer", "site")
    assert split["stage"].values.tolist() == ["tuned", "later"]
    assert provenance_of(split)["token_ids_sha256"] == completed(chain).hash


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"top": 1}, "got top=1, which leaves no two tokens"),
        ({"cap": 1.0}, "got cap=1.0, which shuts out beta = 1"),
        ({"frequency": np.ones(3)}, "got token frequencies of shape \\(3,\\)"),
        ({"frequency": np.zeros(84)}, "give one positive number for each of the 84 tokens"),
    ],
)
def test_bad_input_is_refused(pair: Chain, given: dict, message: str) -> None:
    message = message.replace("84", str(pair.alignment.vocabulary))
    given = {k: np.zeros(pair.alignment.vocabulary) if np.shape(v) == (84,) else v for k, v in given.items()}
    with pytest.raises(InputError, match=message):
        temperature_split(pair, TEXTS, **given)


def test_an_unknown_set_of_positions_is_refused() -> None:
    with pytest.raises(InputError, match="positions 'first' is unknown; give one of last, prompt, completion, all"):
        check("first", 10, 50.0)
