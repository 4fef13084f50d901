"""Ablated neurons against one plain forward pass each, and an entropy neuron that acts through the norm alone."""

from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from planted import PLAIN, fresh, make_unread, plant

from conftest import Build
from mcinterp.chain import Chain, Stage, load_pair
from mcinterp.completions import Decoding
from mcinterp.errors import InputError
from mcinterp.neurons.effects import neuron_effects
from mcinterp.neurons.mediation import mediated_share
from mcinterp.prompts import Prompts
from mcinterp.sequences import teacher_force

TEXTS = ["Are bugs real?", "one", "Pick a number:"]
NEURONS = {1: (4, 9), 2: (0, 17, 3)}


@torch.inference_mode()
def ablated(stage: Stage, ids: list[int], layer: int, neuron: int, mean: float, scale: Any = None) -> torch.Tensor:
    """Log-probabilities after a sequence with one neuron at its mean, the final norm's scale free or as given."""

    def ablate(activation: torch.Tensor, hook: Any) -> torch.Tensor:
        new = activation.clone()
        new[..., neuron] = mean
        return new

    hooks: list[tuple[str, Any]] = [(f"blocks.{layer}.mlp.hook_post", ablate)]
    hooks += [] if scale is None else [("ln_final.hook_scale", lambda own, hook: scale)]
    return stage.bridge.run_with_hooks(torch.tensor([ids]), fwd_hooks=hooks)[0, -1].log_softmax(-1)


@pytest.mark.filterwarnings("ignore:A forward hook edited hook_scale")
@pytest.mark.parametrize("architecture", PLAIN)
def test_effects_are_those_of_plain_forward_passes(tiny: Build, architecture: str) -> None:
    chain, neurons = fresh(tiny, architecture), {1: (4,), 2: (0, 17)}
    each = [chain.base.tokenizer(text).input_ids for text in TEXTS]
    found = [neuron_effects(chain, TEXTS, neurons, exact_last=exact) for exact in (True, False)]
    with torch.inference_mode():
        runs = [chain.tuned.bridge.run_with_cache(torch.tensor([ids])) for ids in each]
    for unit, (layer, neuron) in enumerate((a, b) for a, several in neurons.items() for b in several):
        acts = torch.cat([cache[f"blocks.{layer}.mlp.hook_post"][0, :, neuron] for _, cache in runs])
        for prompt in (0, 1):
            logits, cache = runs[prompt]
            clean = logits[0, -1].log_softmax(-1)
            given = (chain.tuned, each[prompt], layer, neuron, float(acts.mean()))
            cells = [one.sel(stage="tuned").isel(unit=unit, prompt=prompt) for one in found]
            for kind, q in (("effect", ablated(*given)), ("direct", ablated(*given, cache["ln_final.hook_scale"]))):
                for cell in cells:
                    assert_moved(cell, kind, clean, q)
            assert float(cells[0]["activation_mean"]) == pytest.approx(float(acts.mean()), abs=1e-5)


def assert_moved(cell: xr.Dataset, kind: str, clean: torch.Tensor, q: torch.Tensor) -> None:
    """One cell against the distributions of a clean and an ablated run."""
    moved = float((clean.exp() * clean).sum() - (q.exp() * q).sum())
    assert float(cell[f"entropy_{kind}"]) == pytest.approx(moved, abs=3e-5)
    token = int(cell["attractor"])
    assert float(cell[f"attractor_log_prob_{kind}"]) == pytest.approx(float(q[token] - clean[token]), abs=3e-5)
    if kind == "effect":
        assert float(cell["kl_to_clean"]) == pytest.approx(float((q.exp() * (q - clean)).sum()), abs=3e-5)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "qwen2", "gpt_neox"])
def test_a_planted_entropy_neuron_acts_through_the_norm(tiny: Build, architecture: str) -> None:
    chain = fresh(tiny, architecture)
    plant(chain, 2, 11, 3.0 * make_unread(chain, 7))
    found = neuron_effects(chain, TEXTS, {2: (11, 3)})
    assert float(abs(found["entropy_effect"]).isel(unit=0).mean()) > 1e-3
    assert float(abs(found["entropy_direct"]).isel(unit=0).max()) < 1e-5
    share = mediated_share(found)
    np.testing.assert_allclose(share["mediated_share"].isel(unit=0), 1.0, atol=0.01)
    assert float(share["mediated_share"].isel(unit=1).max()) < 0.9


def test_the_mediated_share_is_one_minus_the_ratio_of_means(pair: Chain) -> None:
    found = neuron_effects(pair, TEXTS, {2: (11, 3)})
    share = mediated_share(found, "attractor_log_odds")
    total, direct = (abs(found[f"attractor_log_odds_{kind}"]).mean("prompt") for kind in ("effect", "direct"))
    np.testing.assert_allclose(share["mediated_share"], 1 - direct / total, rtol=1e-4)
    np.testing.assert_allclose(share["effect"], found["attractor_log_odds_effect"].mean("prompt"), rtol=1e-4)
    assert bool((share["mediated_share_low"] <= share["mediated_share_high"]).all())
    none = mediated_share(found.assign(entropy_effect=0 * found["entropy_effect"]))
    assert bool(none["mediated_share"].isnull().all())
    with pytest.raises(InputError, match="metric 'kl' was not read; give one of entropy"):
        mediated_share(found, "kl")


def test_stages_of_an_identical_pair_are_exactly_alike(identical: Chain) -> None:
    found = neuron_effects(identical, TEXTS, NEURONS)
    for name in found.data_vars:
        if "stage" in found[name].dims:
            np.testing.assert_array_equal(found[name].isel(stage=0), found[name].isel(stage=1))


def test_a_later_position_reads_behind_the_written_tokens(pair: Chain) -> None:
    sequences = teacher_force(pair, pair.render(Prompts.from_texts(TEXTS)), Decoding(3))
    longer = ["".join(tokens[:-1]) for tokens in sequences.tokens]
    later, plain = neuron_effects(pair, sequences, NEURONS, read_at=2), neuron_effects(pair, longer, NEURONS)
    for name in ("entropy", "entropy_effect", "attractor_log_odds_direct"):
        np.testing.assert_allclose(later[name], plain[name], atol=1e-6)


def test_hooks_are_gone_also_after_an_error(pair: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    neuron_effects(pair, TEXTS, NEURONS)
    monkeypatch.setattr("mcinterp.growth.assert_reads_like_the_model", refuse)
    with pytest.raises(RuntimeError, match="stopped"):
        neuron_effects(pair, TEXTS, {1: (1,)})
    points = [point for stage in pair.stages for point in stage.bridge.hook_dict.values()]
    assert not any(point.fwd_hooks for point in points)


def refuse(*given: object) -> None:
    """Stop in the middle of a forward pass's reading."""
    raise RuntimeError("stopped")


@pytest.mark.parametrize(
    ("neurons", "message"),
    [
        ({}, "no neuron was given"),
        ({2: ()}, "no neuron was given"),
        ({3: (1,)}, "neuron 1 of layer 3 was asked for and the model has layers 0 to 2"),
        ({2: (40,)}, "neuron 40 of layer 2 .* neurons 0 to 39"),
    ],
)
def test_neurons_that_do_not_exist_are_refused(pair: Chain, neurons: dict[int, tuple[int, ...]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        neuron_effects(pair, TEXTS, neurons)


def test_many_neurons_are_run_in_parts(tiny: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    chain = load_pair(str(tiny("llama")), str(tiny("llama", "tuned")))
    whole = neuron_effects(chain, TEXTS, {2: (0, 17, 3)})
    monkeypatch.setattr("mcinterp.neurons.effects.RUN_BYTES", 1)
    monkeypatch.setattr("mcinterp.growth.LOGIT_BYTES", 1000)
    parts = neuron_effects(chain, TEXTS, {2: (0, 17, 3)})
    for name in ("entropy_effect", "entropy_direct", "activation", "activation_mean"):
        np.testing.assert_allclose(parts[name], whole[name], atol=1e-6)
