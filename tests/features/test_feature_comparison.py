"""Features against plain loops: exact zeros without a difference, parts that sum to it, and the planted direction."""

from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import Build
from features.dictionaries import LAYER, orthogonal, planted, sparse
from mcinterp.chain import Chain, Stage, load_pair
from mcinterp.errors import InputError
from mcinterp.features.autoencoder import SparseAutoencoder
from mcinterp.features.comparison import compare_features
from mcinterp.prompts import Prompts

TEXTS = ["Are bugs real?", "one two", "Pick a number:", "What is it?"]
PROMPTS = Prompts.from_texts(TEXTS, template=["a", "a", "b", "c"])


pytestmark = pytest.mark.filterwarnings("ignore:The autoencoder explains of the variance")
"""Random autoencoders explain nothing, and less of one stage than of the other."""


def activations(stage: Stage, text: str, hook: str) -> torch.Tensor:
    """What TransformerLens itself keeps at a hook, heads side by side."""
    ids = torch.tensor([stage.tokenizer(text).input_ids])
    with torch.inference_mode():
        return stage.bridge.run_with_cache(ids)[1][hook][0].flatten(1)


def last(stage: Stage, text: str, hook: str, change) -> torch.distributions.Categorical:
    """The next-token distribution of one plain forward pass with a changed activation."""
    ids = torch.tensor([stage.tokenizer(text).input_ids])

    def edit(activation: torch.Tensor, hook: object) -> torch.Tensor:
        new = activation.clone()
        new[0] = change(activation[0].flatten(1)).view_as(new[0])
        return new

    with torch.inference_mode():
        return torch.distributions.Categorical(logits=stage.bridge.run_with_hooks(ids, fwd_hooks=[(hook, edit)])[0, -1])


@pytest.mark.parametrize("sae", [sparse(), orthogonal()], ids=["sparse", "orthogonal"])
def test_an_identical_pair_has_no_difference(identical: Chain, sae: SparseAutoencoder) -> None:
    found = compare_features(identical, PROMPTS, sae, top=3)
    for name in ("feature_activation_change", "estimate", "difference_norm", "completeness_error", "donor_gap"):
        assert bool((found[name] == 0).all()), name
    assert bool(found["difference_share"].isnull().all())
    assert bool(found["error_share"].isnull().all())
    assert bool(found["feature_effect"].isnull().all())
    one, two = (found.isel(stage=i, drop=True) for i in (0, 1))
    for name in ("feature_activation", "feature_frequency", "explained_variance", "l0", "splice_kl"):
        np.testing.assert_array_equal(one[name], two[name])


@pytest.mark.parametrize(("site", "layer"), [("resid_post", 1), ("mlp_out", 2), ("z", 1), ("resid_mid", 0)])
def test_activations_shares_and_error_by_a_plain_loop(pair: Chain, site: str, layer: int) -> None:
    sae = sparse(3, site=site, layer=layer)
    found = compare_features(pair, PROMPTS, sae, top=0, skip=1)
    parts, rest, whole, mean, fires = [], [], [], [], []
    for text in TEXTS:
        x, y = (activations(stage, text, sae.hook)[1:] for stage in pair.stages)
        a, b, delta = sae.encode(x), sae.encode(y), y - x
        parts.append(((b - a) * (delta @ sae.W_dec.T)).mean(0))
        rest.append(((sae.error(y) - sae.error(x)) * delta).sum(-1).mean())
        whole.append(delta.pow(2).sum(-1).mean())
        mean.append(b.mean(0))
        fires.append((b > 0).float().mean(0))
    tuned = found.sel(stage="tuned")
    total = float(torch.stack(whole).mean())
    np.testing.assert_allclose(tuned["difference_share"], torch.stack(parts).mean(0) / total, atol=2e-5)
    assert float(tuned["error_share"]) == pytest.approx(float(torch.stack(rest).mean()) / total, abs=2e-5)
    assert float(tuned["difference_norm"]) == pytest.approx(total**0.5, rel=1e-5)
    np.testing.assert_allclose(tuned["feature_activation"], torch.stack(mean).mean(0), atol=1e-5)
    np.testing.assert_allclose(tuned["feature_frequency"], torch.stack(fires).mean(0), atol=1e-6)


def test_the_parts_and_the_error_are_the_whole(pair: Chain) -> None:
    found = compare_features(pair, PROMPTS, sparse(4), top=0).sel(stage="tuned")
    assert float(found["completeness_error"]) < 1e-12
    both = found["difference_share"].astype(float).sum("feature") + found["error_share"].astype(float)
    assert float(both) == pytest.approx(1.0, abs=1e-5)
    assert abs(float(found["error_share"])) > 0.05


def test_reconstruction_by_a_plain_loop(pair: Chain) -> None:
    sae = sparse(5)
    found = compare_features(pair, PROMPTS, sae, top=0)
    for stage in pair.stages:
        rows = [activations(stage, text, sae.hook) for text in TEXTS]
        middle = torch.cat(rows).mean(0)
        error = torch.stack([sae.error(x).pow(2).sum() for x in rows]).sum()
        spread = torch.stack([(x - middle).pow(2).sum() for x in rows]).sum()
        here = found.sel(stage=stage.name)
        assert float(here["explained_variance"]) == pytest.approx(float(1 - error / spread), rel=1e-4)
        kl, change = [], []
        for text in TEXTS:
            q = last(stage, text, sae.hook, lambda x: sae.decode(sae.encode(x)))
            p = last(stage, text, sae.hook, lambda x: x)
            kl.append(float(torch.distributions.kl_divergence(q, p)))
            change.append(float(q.entropy() - p.entropy()))
        assert float(here["splice_kl"]) == pytest.approx(np.mean(kl), abs=1e-4)
        assert float(here["splice_entropy_change"]) == pytest.approx(np.mean(change), abs=1e-4)
        assert float(here["l0"]) <= 5


@pytest.mark.parametrize(
    ("architecture", "site", "positions"),
    [
        ("llama", "resid_post", "last"),
        ("gpt2", "mlp_out", "all"),
        ("gemma2", "resid_pre", "last"),
        ("qwen2", "resid_mid", "all"),
    ],
)
def test_effects_are_plain_forward_passes_and_estimates_their_slopes(
    tiny: Build, architecture: str, site: str, positions: str
) -> None:
    pair = load_pair(str(tiny(architecture)), str(tiny(architecture, "tuned")), names=["base", "tuned"])
    sae = sparse(6, site=site, layer=1)
    found = compare_features(
        pair, TEXTS[:1], sae, top=2, positions=positions, metric="entropy", directions=["tuned_to_base"]
    )
    assert found.attrs["noise_floor"] < 1e-5
    text, here = TEXTS[0], found.sel(direction="tuned_to_base")
    own, other = (activations(stage, text, sae.hook) for stage in pair.stages)
    step = sae.encode(other) - sae.encode(own)
    if positions == "last":
        step[:-1] = 0
    chosen = np.flatnonzero(here["feature_effect"].notnull())
    assert set(chosen) == set(np.argsort(-np.abs(here["estimate"].values))[:2])
    clean = entropy_with(pair.base, text, sae, torch.zeros_like(own))
    for feature in chosen.tolist():
        moved = step[:, [feature]] * sae.W_dec[feature]
        assert float(here["feature_effect"][feature]) == pytest.approx(
            entropy_with(pair.base, text, sae, moved) - clean, abs=1e-4
        )
        scale = 0.02 / float(moved.norm())
        rise = entropy_with(pair.base, text, sae, scale * moved) - entropy_with(pair.base, text, sae, -scale * moved)
        assert float(here["estimate"][feature]) == pytest.approx(rise / scale / 2, rel=0.03, abs=2e-3)


def entropy_with(stage: Stage, text: str, sae: SparseAutoencoder, step: torch.Tensor) -> float:
    """Entropy of a plain run with a step added at the place; at `resid_mid` also in the stream behind the layer."""
    ids = torch.tensor([stage.tokenizer(text).input_ids])
    hooks = [(sae.hook, lambda activation, hook: activation + step)]
    if sae.site == "resid_mid":
        hooks.append((sae.hook.replace("resid_mid", "resid_post"), lambda activation, hook: activation + step))
    with torch.inference_mode():
        logits = stage.bridge.run_with_hooks(ids, fwd_hooks=hooks)[0, -1]
    return float(torch.distributions.Categorical(logits=logits.double()).entropy())


@pytest.mark.parametrize("feature", [0, 17])
def test_a_planted_direction_is_first_and_all_there_is(tiny: Build, tmp_path: Path, feature: int) -> None:
    sae = orthogonal(2)
    pair = planted(tiny("llama"), tmp_path / "planted", sae.W_dec[feature])
    found = compare_features(pair, PROMPTS, sae, top=3)
    tuned = found.sel(stage="tuned")
    assert int(tuned["difference_share"].values.argmax()) == feature
    assert float(tuned["difference_share"][feature]) == pytest.approx(1.0, abs=1e-3)
    assert float(abs(tuned["difference_share"].drop_sel(feature=feature)).max()) < 1e-3
    assert float(abs(tuned["error_share"])) < 1e-3
    assert abs(found["estimate"]).argmax("feature").values.tolist() == [feature, feature]
    assert float(tuned["explained_variance"]) > 0.999


def test_a_stage_that_is_explained_much_less_is_said(tiny: Build, tmp_path: Path) -> None:
    narrow = orthogonal(2)
    kept = narrow.W_dec[:23]
    sae = SparseAutoencoder(
        kept.T.contiguous(), torch.zeros(23), kept, -50.0 * kept.sum(0), "relu", "resid_post", LAYER
    )
    pair = planted(tiny("llama"), tmp_path / "outside", narrow.W_dec[23], size=30.0)
    with pytest.warns(UserWarning, match="much less in tuned, whose difference its features may miss"):
        found = compare_features(pair, PROMPTS, sae, top=0)
    assert "much less in tuned" in found.attrs["reconstruction"]
    assert float(found["error_share"].sel(stage="tuned")) == pytest.approx(1.0, abs=1e-3)


def test_chains_are_compared_with_the_first_stage(chain: Chain) -> None:
    found = compare_features(chain, PROMPTS, sparse(), top=1, directions=["base_to_later"])
    assert found["stage"].values.tolist() == ["base", "tuned", "later"]
    change = found["feature_activation"] - found["feature_activation"].sel(stage="base", drop=True)
    np.testing.assert_allclose(found["feature_activation_change"], change, atol=1e-5)


def test_what_does_not_exist_is_refused(pair: Chain) -> None:
    with pytest.raises(InputError, match="metric 'kl' is unknown; give entropy"):
        compare_features(pair, PROMPTS, sparse(), metric="kl")
    with pytest.raises(InputError, match="top=-1 and skip=0"):
        compare_features(pair, PROMPTS, sparse(), top=-1)
    with pytest.raises(InputError, match="no token of sequence 1 is left of tokens='all' without the first 7"):
        compare_features(pair, PROMPTS, sparse(), skip=7)
    with pytest.raises(InputError, match="reads 23 numbers a token"):
        compare_features(pair, PROMPTS, sparse(width=23))
