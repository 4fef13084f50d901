"""The entropy drop split among four players, on pairs whose answer is known."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from conftest import SHAPES, Build
from mcinterp.attribution.entropy_split import FIGURES, PLAYERS, entropy_split
from mcinterp.chain import Chain, load_chain, load_pair
from mcinterp.completions import Decoding
from mcinterp.divergence import log_odds, plausible_set
from mcinterp.errors import InputError
from mcinterp.prompts import Prompts
from mcinterp.sequences import teacher_force

TEXTS = ["Are bugs real?", "one", "Pick a number:"]


def edited(tiny: Build, folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> Chain:
    """The tiny Llama base beside a copy of it with some tensors changed."""
    shutil.copytree(tiny("llama"), folder / "edited")
    tensors = load_file(folder / "edited" / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "edited" / "model.safetensors", metadata={"format": "pt"})
    return load_pair(str(tiny("llama")), str(folder / "edited"), names=["base", "edited"])


def only(chain: Chain, player: str) -> None:
    """Everything belongs to one player: all figures are the total for it and zero for the others."""
    split = entropy_split(chain, TEXTS)
    assert float(abs(split["total"]).min()) > 1e-3
    for name in FIGURES:
        others = split[name].sel(player=[p for p in PLAYERS if p != player])
        np.testing.assert_allclose(others, 0.0, atol=2e-6)
        np.testing.assert_allclose(split[name].sel(player=player), split["total"], atol=5e-6)


def test_an_identical_pair_gives_exact_zeros(identical: Chain) -> None:
    for metric in ("entropy", "attractor_log_odds"):
        split = entropy_split(identical, TEXTS, metric=metric)
        for name in (*FIGURES, "total", "completeness_error"):
            assert float(abs(split[name]).max()) == 0.0


def test_a_pair_that_differs_in_the_unembedding_gives_all_to_it(tiny: Build, tmp_path: Path) -> None:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        tensors["lm_head.weight"] *= torch.linspace(0.2, 2.0, 24)

    only(edited(tiny, tmp_path, change), "unembedding")


def test_a_pair_that_differs_in_the_final_gain_gives_all_to_it(tiny: Build, tmp_path: Path) -> None:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        tensors["model.norm.weight"] *= torch.linspace(2.0, 0.2, 24)

    only(edited(tiny, tmp_path, change), "gain")


def test_a_pair_whose_residual_only_turns_gives_all_to_the_residual(tiny: Build, tmp_path: Path) -> None:
    def turn(tensors: dict[str, torch.Tensor]) -> None:
        for name in tensors:
            if name.endswith(("embed_tokens.weight", "gate_proj.weight")):
                tensors[name] *= -1.0

    only(edited(tiny, tmp_path, turn), "residual")


def test_a_residual_of_twice_the_length_is_undone_by_its_scale(tiny: Build, tmp_path: Path) -> None:
    def double(tensors: dict[str, torch.Tensor]) -> None:
        for name in tensors:
            if name.endswith(("embed_tokens.weight", "o_proj.weight", "down_proj.weight")):
                tensors[name] *= 2.0

    split = entropy_split(edited(tiny, tmp_path, double), TEXTS)["shapley"]
    np.testing.assert_allclose(split.sel(player=["gain", "unembedding"]), 0.0, atol=1e-4)
    np.testing.assert_allclose(split.sel(player="residual"), -split.sel(player="scale"), atol=1e-4)
    assert float(split.sel(player="residual").max()) < -0.01


@pytest.mark.parametrize("architecture", SHAPES)
def test_parts_sum_to_the_difference_of_the_models_own_entropies(tiny: Build, architecture: str) -> None:
    pair = load_pair(str(tiny(architecture)), str(tiny(architecture, "tuned")), names=["base", "tuned"])
    split = entropy_split(pair, TEXTS).sel(stage="tuned")
    entropies = np.zeros((2, len(TEXTS)))
    for s, stage in enumerate(("base", "tuned")):
        plain = AutoModelForCausalLM.from_pretrained(tiny(architecture, stage), attn_implementation="eager")
        for index, ids in enumerate(pair.render(Prompts.from_texts(TEXTS)).token_ids):
            with torch.inference_mode():
                logits = plain(torch.tensor([ids])).logits[0, -1]
            entropies[s, index] = torch.distributions.Categorical(logits=logits).entropy()
    np.testing.assert_allclose(split["total"], entropies[1] - entropies[0], atol=1e-5)
    np.testing.assert_allclose(split["shapley"].sum("player"), entropies[1] - entropies[0], atol=1e-5)
    assert float(split["completeness_error"].max()) < 1e-4


def test_first_and_last_are_the_mixtures_of_the_modules_themselves(pair: Chain) -> None:
    ids = torch.tensor(pair.render(Prompts.from_texts(["one"])).token_ids)
    with torch.inference_mode():
        states, norms = zip(
            *(
                (s.bridge.run_with_cache(ids)[1]["blocks.2.hook_resid_post"][0, -1], s.readout.norm)
                for s in pair.stages
            ),
            strict=True,
        )

        def entropy(x: int, scale: int, gain: int, unembedding: int) -> float:
            factor = (states[scale].square().mean() + norms[scale].variance_epsilon).rsqrt()
            logits = pair.stages[unembedding].readout.weight @ (norms[gain].weight * states[x] * factor)
            return float(torch.distributions.Categorical(logits=logits).entropy())

        split = entropy_split(pair, ["one"]).isel(stage=0, prompt=0)
        for number, player in enumerate(PLAYERS):
            alone = [int(i == number) for i in range(4)]
            first = entropy(*alone) - entropy(0, 0, 0, 0)
            last = entropy(1, 1, 1, 1) - entropy(*(1 - i for i in alone))
            assert float(split["alone_first"].sel(player=player)) == pytest.approx(first, abs=1e-5)
            assert float(split["alone_last"].sel(player=player)) == pytest.approx(last, abs=1e-5)


def test_log_odds_of_the_attractor_are_split_too_for_every_later_stage(chain: Chain) -> None:
    split = entropy_split(chain, TEXTS, metric="attractor_log_odds")
    assert split["stage"].values.tolist() == ["tuned", "later"]
    ids = chain.render(Prompts.from_texts(TEXTS)).token_ids
    for index, each in enumerate(ids):
        with torch.inference_mode():
            logs = [stage.bridge(torch.tensor([each]))[0, -1:].log_softmax(-1) for stage in chain.stages]
        token = logs[-1].argmax(-1)
        odds = [float(log_odds(q, token, *plausible_set(logs[0], token))) for q in logs]
        expected = [odds[1] - odds[0], odds[2] - odds[0]]
        np.testing.assert_allclose(split["total"].isel(prompt=index), expected, atol=1e-4)
    named = entropy_split(chain, TEXTS, metric="attractor_log_odds", attractor=7)
    assert float(abs(named["total"] - split["total"]).max()) > 1e-3
    assert float(max(split["completeness_error"].max(), named["completeness_error"].max())) < 1e-4


def test_several_positions_have_an_axis_and_are_missing_where_a_prompt_ends(pair: Chain) -> None:
    written = teacher_force(pair, pair.render(Prompts.from_texts(TEXTS)), Decoding(3))
    split = entropy_split(pair, written, read_at=(2, 0))
    assert split["read_at"].values.tolist() == [0, 2]
    assert split["shapley"].dims == ("stage", "prompt", "read_at", "player")
    has = np.asarray([len(c) >= 2 for c in written.completions])
    np.testing.assert_array_equal(np.isfinite(split["total"].sel(read_at=2)[0]), has)
    once = entropy_split(pair, TEXTS)
    for name in (*FIGURES, "total"):
        np.testing.assert_allclose(split[name].sel(read_at=0), once[name], atol=1e-5)
        assert once[name].attrs["units"] == "nats"


def test_a_small_budget_and_half_precision_change_little(tiny: Build, pair: Chain) -> None:
    split = entropy_split(pair, TEXTS)
    np.testing.assert_allclose(entropy_split(pair, TEXTS, max_bytes=1)["shapley"], split["shapley"], atol=1e-6)
    half = load_chain([str(tiny("llama")), str(tiny("llama", "tuned"))], dtype=["bfloat16", "float32"])
    rounded = entropy_split(half, TEXTS)
    assert float(rounded["completeness_error"].max()) < 1e-4
    np.testing.assert_allclose(rounded["shapley"].values, split["shapley"].values, atol=0.1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"metric": "rank"}, "metric 'rank' is unknown; give one of entropy, attractor_log_odds"),
        ({"read_at": 3}, "got read_at=\\[3\\] and the sequences have positions 0 to 0"),
        ({"attractor": 900}, "attractor 900 is no token id"),
    ],
)
def test_bad_input_is_refused(pair: Chain, given: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        entropy_split(pair, TEXTS, **given)
