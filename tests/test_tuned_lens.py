"""The tuned lens learns what is there to learn, belongs to its checkpoint, and survives a file."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mcinterp.capture import Point, residual_points
from mcinterp.chain import Chain
from mcinterp.completions import Decoding
from mcinterp.errors import InputError
from mcinterp.landmarks import final_distribution
from mcinterp.lens import logit_lens, own_lens
from mcinterp.prompts import Prompts
from mcinterp.sequences import teacher_force
from mcinterp.tuned_lens import Fit, TunedLens, fit_chain, fit_tuned_lens, load_tuned_lens, tuned_lens

IDS = [tuple((7 * i + 3 * j) % 60 + 2 for j in range(24)) for i in range(12)]


@pytest.fixture(scope="module")
def fitted(pair: Chain) -> TunedLens:
    """A lens of the tuned stage."""
    return fit_tuned_lens(pair.tuned, IDS, Fit(steps=150))


def test_fitting_lowers_the_held_out_divergence_at_every_point(fitted: TunedLens) -> None:
    assert all(after < before for before, after in zip(fitted.kl_before, fitted.kl_after, strict=True))
    assert sum(fitted.kl_after) < 0.85 * sum(fitted.kl_before)


def test_kl_before_is_that_of_the_logit_lens(pair: Chain, fitted: TunedLens) -> None:
    zero = fit_tuned_lens(pair.tuned, IDS, Fit(steps=0))
    assert zero.kl_before == zero.kl_after
    assert zero.kl_before == pytest.approx(fitted.kl_before)
    assert torch.equal(zero.weight, torch.zeros_like(zero.weight))


def test_a_known_affine_change_is_recovered(pair: Chain) -> None:
    """A last block that does nothing but shift: the translator of the point before must find the shift."""
    stage = pair.base
    points = residual_points(stage)
    streams = [torch.randn(400, 24, generator=torch.Generator().manual_seed(p)) for p in range(2)]
    shift = torch.randn(24, generator=torch.Generator().manual_seed(9))
    streams[1] = streams[0] + shift
    from mcinterp.tuned_lens import held_out_kl, train_translators

    random = torch.Generator().manual_seed(0)
    weight, bias = train_translators(stage.readout, streams, torch.arange(300), Fit(steps=400, rate=0.25), random)
    held = torch.arange(300, 400)
    before = held_out_kl(stage.readout, streams, held, torch.zeros_like(weight), torch.zeros_like(bias))
    after = held_out_kl(stage.readout, streams, held, weight, bias)
    assert after[0] < 0.02 * before[0]
    assert len(points) == 7


def test_the_last_layer_is_left_as_it_is(pair: Chain, fitted: TunedLens) -> None:
    rows = torch.randn(3, 24)
    assert torch.equal(fitted.translate(Point(2, "resid_post"), rows), rows)
    assert not torch.equal(fitted.translate(Point(1, "resid_post"), rows), rows)


def test_a_saved_lens_reads_the_same(pair: Chain, fitted: TunedLens, tmp_path: Path) -> None:
    again = load_tuned_lens(fitted.save(tmp_path / "lens.safetensors"), pair.tuned)
    assert again.points == fitted.points
    assert torch.equal(again.weight, fitted.weight)
    assert again.kl_after == fitted.kl_after


def test_a_lens_of_another_checkpoint_is_refused(pair: Chain, fitted: TunedLens, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="was fitted on another checkpoint or dtype than stage 'base'"):
        load_tuned_lens(fitted.save(tmp_path / "lens.safetensors"), pair.base)


def test_what_is_no_lens_is_refused(pair: Chain, tmp_path: Path) -> None:
    (tmp_path / "junk").write_bytes(b"junk")
    for path in (tmp_path / "junk", tmp_path / "missing"):
        with pytest.raises(InputError, match="is no tuned lens .*; fit one with `mcinterp fit-lens`"):
            load_tuned_lens(path, pair.base)


def test_as_a_lens_it_ends_at_the_models_distribution_and_is_nearer_to_it_before(pair: Chain, tmp_path: Path) -> None:
    rendered = pair.render(Prompts.from_texts(["Are bugs real?", "one two", "3 4 5 6"]))
    lenses = [own_lens(pair), tuned_lens(pair, fit_chain(pair, rendered, tmp_path))]
    lens = logit_lens(pair, teacher_force(pair, rendered, Decoding(4)), lenses=lenses)
    final = lens.sel(site="resid_post").isel(layer=-1)
    np.testing.assert_array_equal(final["entropy"].sel(lens="tuned"), final_distribution(lens)["entropy"])
    distance = lens["kl_final_to_lens"].sel(site="resid_mid").mean(["stage", "prompt", "position", "layer"])
    assert float(distance.sel(lens="tuned")) < 0.8 * float(distance.sel(lens="own"))
    assert (tmp_path / "base" / "tuned_lens.safetensors").exists()


def test_one_lens_a_stage_is_wanted(pair: Chain, fitted: TunedLens) -> None:
    with pytest.raises(InputError, match="got 1 tuned lenses for 2 stages"):
        tuned_lens(pair, [fitted])
