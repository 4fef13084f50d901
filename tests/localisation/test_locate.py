"""`locate` on checkpoints whose collapse is known by construction, and its evidence against direct calculations."""

from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import Build
from known_collapse import PROMPTS, with_writes
from mcinterp.chain import Chain, load_pair
from mcinterp.errors import InputError
from mcinterp.intervene.inputs import as_sequences
from mcinterp.intervene.patching import patch
from mcinterp.localisation.evidence import evidence, pair_evidence
from mcinterp.localisation.gate import gate
from mcinterp.localisation.locating import locate, split
from mcinterp.localisation.setting import METRIC, Setting
from mcinterp.prompts import Prompts
from mcinterp.sequences import rendered_prompts
from mcinterp.weights.grafts import graft_sweep

TEXTS = ["Are bugs real?", "Pick a number:", "one", "One more time"]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """The pocket base and a copy whose third MLP writes one number."""
    return load_pair("pocket:base", str(with_writes(tmp_path_factory.mktemp("plant") / "mlp", ["2.mlp"], strength=300)))


@pytest.mark.parametrize("site", ["0.mlp", "1.attn", "3.mlp", "5.attn"])
def test_a_site_that_was_changed_alone_is_all_of_the_collapse(tmp_path: Path, site: str) -> None:
    pair = load_pair("pocket:base", str(with_writes(tmp_path / "plant", [site], strength=300)))
    found = locate(pair, PROMPTS, held_out=None, verification=False)
    assert (found.verdict, found.named) == ("localised", (site,))
    best = found.sites.isel(component=0)
    for kind in ("update", "graft_necessity", "graft_sufficiency", "patch_sufficiency"):
        assert float(best[f"{kind}_share"]) == pytest.approx(1.0, abs=1e-3)
    others = found.sites.isel(component=slice(1, None))
    for kind in ("update", "graft_necessity", "graft_sufficiency"):
        assert float(np.abs(others[f"{kind}_share"]).max()) < 1e-4
    assert found.support["localised"] == 1.0
    assert not found.upstream


def test_two_sites_that_add_up_are_both_on_top_and_spread_out(tmp_path: Path) -> None:
    pair = load_pair("pocket:base", str(with_writes(tmp_path / "plant", ["3.mlp", "4.attn"], strength=200)))
    found = locate(pair, PROMPTS, held_out=None, verification=False)
    assert set(found.sites["component"].values[:2]) == {"3.mlp", "4.attn"}
    assert found.verdict == "distributed"
    pair_of_both = found.pairs.sel(pair=found.pairs["pair"].values[0])
    gap = float(found.evidence["log_odds_gap"].mean())
    for way in ("necessity", "sufficiency"):
        assert float(pair_of_both[way].mean()) / gap == pytest.approx(1.0, abs=1e-3)


def test_no_collapse_is_said_with_figures(identical: Chain) -> None:
    found = locate(identical, TEXTS)
    assert (found.verdict, found.named, found.upstream, found.sites) == ("none", (), False, None)
    assert "KL(tuned || base) 0.00 nats, 0 of 4 prompts collapsed" in found.said


def test_evidence_is_what_the_analyses_say(planted: Chain) -> None:
    passed = gate(planted, planted.render(Prompts.from_texts(PROMPTS)))
    found = evidence(Setting(planted, passed.sequences, passed.reads, None))
    patched = patch(planted, passed.sequences, sites=("mlp_out",), layers=2, positions="all", controls=False)
    effect = (patched[METRIC] - patched[f"{METRIC}_recipient"]).squeeze()
    one = found.sel(component="2.mlp")
    np.testing.assert_allclose(one["patch_sufficiency"], effect.sel(direction="tuned_to_base"), atol=1e-4)
    np.testing.assert_allclose(one["patch_necessity"], -effect.sel(direction="base_to_tuned"), atol=1e-4)
    np.testing.assert_allclose(one["update"], found["log_odds_gap"], atol=0.05)
    np.testing.assert_allclose(found["update"].sum("component"), found["log_odds_gap"], atol=0.05)
    lost = one["graft_entropy"] + found["entropy_gap"]
    np.testing.assert_allclose(lost, 0, atol=1e-4)


def test_swapping_the_embedding_equals_patching_the_stream_below_the_layers(pair: Chain) -> None:
    """Weights and activations are one piece of evidence there."""
    found = evidence(Setting(pair, as_sequences(pair, TEXTS), (0,), None)).sel(component="embed")
    for way in ("necessity", "sufficiency"):
        np.testing.assert_allclose(found[f"patch_{way}"], found[f"graft_{way}"], atol=1e-4)


def test_pairs_are_grafts_of_both(pair: Chain) -> None:
    sequences = as_sequences(pair, TEXTS)
    found = pair_evidence(Setting(pair, sequences, (0,), None), ["0.attn", "unembed", "2.mlp"])
    assert found["first"].values.tolist() == ["0.attn", "0.attn", "unembed"]
    together = graft_sweep(pair, sequences, groups={"x": ["unembed", "2.mlp"]}, metrics=[METRIC]).squeeze("component")
    bring = together.sel(direction="tuned_to_base")
    np.testing.assert_allclose(
        found["sufficiency"].isel(pair=2), bring[METRIC] - bring[f"{METRIC}_recipient"], atol=1e-5
    )


@pytest.mark.slow
def test_all_of_a_head_s_evidence_stands_beside_the_sites(planted: Chain) -> None:
    found = locate(planted, PROMPTS, heads=True, held_out=None, verification=False)
    heads = found.heads.sel(component=found.heads["head"] >= 0)
    assert heads.sizes["component"] == 24
    assert float(np.abs(heads["update_share"]).max()) < 1e-4


def test_verification_brings_everything_back_where_one_site_is_all(planted: Chain) -> None:
    found = locate(planted, PROMPTS, controls=["Repeat: cat\n"], seed=3)
    checked = found.verification
    assert checked is not None
    assert checked.attrs["chosen_sites"] == "2.mlp"
    assert checked.attrs["regain_reached"] == pytest.approx(1.0, abs=1e-4)
    reverted = checked.sel(edit="1 site")
    np.testing.assert_allclose(reverted["entropy"], checked["entropy"].sel(edit="base"), atol=1e-5)
    assert set(checked["part"].values.tolist()) == {"located", "held_out"}


@pytest.mark.slow
def test_weights_are_as_before(planted: Chain) -> None:
    before = [stage.fingerprint for stage in planted.stages]
    locate(planted, PROMPTS, held_out=None)
    for stage in planted.stages:
        stage.__dict__.pop("fingerprint", None)
    assert [stage.fingerprint for stage in planted.stages] == before


def test_a_chain_is_compared_from_end_to_end(chain: Chain) -> None:
    found = locate(chain, TEXTS, verification=False)
    assert found.gate.table.attrs["provenance"].count('"name": "later"') == 1
    assert '"name": "tuned"' not in found.gate.table.attrs["provenance"]


def test_every_fourth_template_is_kept_aside(pair: Chain) -> None:
    rendered = pair.render(Prompts.from_texts([f"prompt {i}" for i in range(9)]))
    kept, aside = split(rendered)
    assert aside is not None
    assert [text[-1] for text in aside.texts] == ["3", "7"]
    assert len(kept) + len(aside) == 9
    assert not set(kept.templates) & set(aside.templates)
    few = rendered.select(range(7))
    assert split(few) == (few, None)


def test_bad_requests_are_refused(pair: Chain) -> None:
    with pytest.raises(InputError, match="no prompt was given"):
        locate(pair, [])
    with pytest.raises(InputError, match="is no token id below"):
        locate(pair, TEXTS, attractor=10_000)


@pytest.mark.parametrize("architecture", ["gpt2", "gpt_neox", "gemma2", "qwen2", "cohere"])
def test_other_architectures(tiny: Build, architecture: str) -> None:
    """Grafts and attributions of all components run, and the update's parts sum to the whole."""
    torch.manual_seed(0)
    pair = load_pair(str(tiny(architecture)), str(tiny(architecture, "tuned")))
    one = Setting(pair, rendered := as_sequences(pair, rendered_prompts(pair, TEXTS)), (0,), None)
    found = evidence(one)
    assert found.sizes["prompt"] == len(rendered)
    np.testing.assert_allclose(found["update"].sum("component"), found["log_odds_gap"], atol=0.06)
    layered = found.sel(component=[name for name in found["component"].values if "." in name])
    reached = layered.sel(component=layered["site"].isin(["attn", "mlp"]))
    assert bool(reached["patch_necessity"].notnull().all())


def test_a_named_site_is_patched_position_by_position(planted: Chain) -> None:
    found = locate(planted, PROMPTS, positions=True, held_out=None, verification=False)
    assert found.positions is not None
    one = found.positions.sel(component="2.mlp")
    gap = found.evidence["log_odds_gap"]
    patched = patch(planted, PROMPTS[:1], sites=("mlp_out",), layers=2, positions=-1, controls=False, metrics=[METRIC])
    effect = (patched[METRIC] - patched[f"{METRIC}_recipient"]).sel(direction="tuned_to_base").squeeze()
    assert float(one["sufficiency"].sel(prompt=0, position=-1)) == pytest.approx(float(effect), abs=1e-4)
    assert float(one["sufficiency"].sel(position=0).mean()) == pytest.approx(float(gap.mean()), rel=0.1)
    lengths = [len(ids) for ids in found.gate.sequences.prompts.token_ids]
    np.testing.assert_array_equal(one["necessity"].notnull().sum("position"), lengths)
