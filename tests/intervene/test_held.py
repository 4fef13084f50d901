"""Patches held while the model writes: the unpatched run, a naive loop without a cache, and the patch of one step."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from patching_reference import activations, encoded, patched, sites_of, tiny_pair

import mcinterp
from conftest import SHAPES, Build
from mcinterp.chain import Chain, Stage
from mcinterp.completions import Decoding, before_end, complete_many
from mcinterp.errors import InputError
from mcinterp.intervene import held
from mcinterp.intervene.sites import SITES, Site
from mcinterp.prompts import Prompts
from mcinterp.sequences import with_completions

TEXTS = ["Are bugs real?", "abc", "Pick:"]
SITES_HELD = ("resid_pre", "attn_out", "kv", "q", "pattern")
DECODING = Decoding(6)


def naive(
    donor: Stage, recipient: Stage, ids: Sequence[int], sites: Sequence[str], layers: Sequence[int], **options: Any
) -> tuple[list[int], list[float]]:
    """A greedy trajectory and its entropies, every prefix anew and patched from the last prompt token on."""
    start, steps, part = options.get("start", len(ids) - 1), options.get("steps", 6), options.get("part")
    written, entropies, prefix = [], [], list(ids)
    for _ in range(steps):
        q = patched(recipient, prefix, activations(donor, prefix), sites, layers, range(start, len(prefix)), part)[-1]
        written.append(int(q.argmax()))
        entropies.append(float(torch.distributions.Categorical(logits=q).entropy()))
        prefix.append(written[-1])
    return list(before_end(written, recipient.end_tokens)), entropies


def tokens(cell: xr.DataArray) -> list[int]:
    """What a trajectory wrote."""
    return [int(token) for token in cell.values if token >= 0]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma2"])
def test_unpatched_trajectories_are_the_models_own(tiny: Build, architecture: str, temperature: float) -> None:
    pair, decoding = tiny_pair(tiny, architecture), Decoding(12, temperature, seed=3)
    result = mcinterp.generate_patched(
        pair, TEXTS, sites=["resid_pre"], layers=1, decoding=decoding, samples=2, controls=False
    )
    ids = pair.render(Prompts.from_texts(TEXTS)).token_ids
    for direction, stage in (("base_to_tuned", pair.tuned), ("tuned_to_base", pair.base)):
        own = complete_many(stage, ids, decoding, context=64, samples=2)
        found = result["token_id_recipient"].sel(direction=direction)
        for prompt in range(3):
            assert [tuple(tokens(found[prompt, sample])) for sample in range(2)] == own[prompt]


@pytest.mark.parametrize(
    ("architecture", "positions"), [*((name, "last") for name in SHAPES), ("llama", "all"), ("gemma2", "all")]
)
def test_a_greedy_trajectory_is_that_of_a_loop_over_whole_prefixes(
    tiny: Build, architecture: str, positions: Any
) -> None:
    pair = tiny_pair(tiny, architecture)
    result = mcinterp.generate_patched(
        pair, TEXTS[:2], sites=SITES_HELD, layers=[1], decoding=DECODING, positions=positions, controls=False,
        directions=["base_to_tuned"],
    )  # fmt: skip
    for prompt, text in enumerate(TEXTS[:2]):
        ids = encoded(pair, text)
        for site in SITES_HELD:
            single = ("k", "v") if site == "kv" else (site,)
            start = len(ids) - 1 if positions == "last" else 0
            written, entropies = naive(pair.base, pair.tuned, ids, single, [1], start=start)
            cell = result.isel(prompt=prompt, direction=0, layer=0, sample=0).sel(site=site)
            assert tokens(cell["token_id"]) == written
            known = cell["entropy"].values[np.isfinite(cell["entropy"].values)]
            np.testing.assert_allclose(known, entropies[: len(known)], atol=1e-4)


def test_heads_neurons_and_windows_are_held_too(pair: Chain) -> None:
    ids = encoded(pair, TEXTS[1])
    options: dict[str, Any] = {"decoding": DECODING, "controls": False, "directions": ["tuned_to_base"]}
    heads = mcinterp.generate_patched(pair, TEXTS, sites=["z", "pattern", "v"], layers=2, heads=[1, 3], **options)
    for site, head in (("z", 1), ("z", 3), ("pattern", 3), ("v", 1)):
        written, _ = naive(pair.tuned, pair.base, ids, [site], [2], part=[head])
        assert tokens(heads["token_id"].sel(site=site, head=head).isel(prompt=1).squeeze()) == written
    assert bool((heads["token_id"].sel(site="v", head=3) == -1).all())
    neurons = mcinterp.generate_patched(pair, TEXTS, sites=["mlp_post"], neurons=range(20), window=2, **options)
    written, _ = naive(pair.tuned, pair.base, ids, ["mlp_post"], [1, 2], part=range(20))
    assert tokens(neurons["token_id"].sel(layer=1).isel(prompt=1).squeeze()) == written


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma2", "gpt_neox", "olmo2"])
def test_the_first_step_is_the_patch_of_one_step_with_its_controls(tiny: Build, architecture: str) -> None:
    pair = tiny_pair(tiny, architecture)
    for positions in ("last", "all"):
        options: dict[str, Any] = {"sites": sites_of(pair.base), "layers": [0, 2], "positions": positions, "seed": 4}
        first = mcinterp.generate_patched(pair, TEXTS, decoding=Decoding(1), **options).isel(sample=0, step=0)
        once = mcinterp.patch(pair, TEXTS, interaction=False, **options)
        np.testing.assert_allclose(first["entropy"], once["entropy"], atol=1e-4)
        for control in ("noop", "random"):
            np.testing.assert_allclose(
                first["entropy_control"].sel(control=control), once["entropy_control"].sel(control=control), atol=1e-4
            )


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma2", "gpt_neox"])
def test_own_activations_put_back_leave_every_trajectory(tiny: Build, architecture: str) -> None:
    pair = tiny_pair(tiny, architecture)
    decoding = Decoding(5, temperature=1.0, seed=1)
    result = mcinterp.generate_patched(pair, TEXTS, sites=sites_of(pair.base), layers=[0, 2], decoding=decoding)
    noop = result.sel(control="noop")
    for site, layer in ((s, x) for s in result["site"].values for x in (0, 2) if (s, x) != ("final_scale", 0)):
        cell = noop.sel(site=site, layer=layer)
        np.testing.assert_array_equal(cell["token_id_control"], result["token_id_recipient"])
        np.testing.assert_allclose(cell["entropy_control"], result["entropy_recipient"], atol=1e-5)
        assert np.isnan(cell["left_at_control"]).all()
    assert bool((result["token_id"] != result["token_id_recipient"]).any())


def test_sampled_trajectories_and_random_controls_do_not_depend_on_the_batch(
    pair: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"layers": [1], "decoding": Decoding(6, temperature=1.0, seed=2), "positions": "all"}
    together = mcinterp.generate_patched(pair, TEXTS, sites=SITES_HELD, samples=2, **options)
    again = mcinterp.generate_patched(pair, TEXTS, sites=SITES_HELD, samples=2, **options)
    monkeypatch.setattr(held, "ROWS", 2)
    apart = mcinterp.generate_patched(pair, TEXTS, sites=["pattern", "q"], samples=2, **options)
    for name in ("token_id", "token_id_control"):
        np.testing.assert_array_equal(together[name], again[name])
        np.testing.assert_array_equal(together[name].sel(site=["pattern", "q"]), apart[name])
    np.testing.assert_allclose(
        together["entropy_control"].sel(site=["pattern", "q"]), apart["entropy_control"], atol=1e-4
    )
    other = mcinterp.generate_patched(pair, TEXTS, sites=["q"], samples=2, **options, seed=1)
    assert bool(
        (
            other["entropy_control"].sel(control="random") != apart["entropy_control"].sel(control="random", site=["q"])
        ).any()
    )


def test_what_is_kept_of_a_trajectory(pair: Chain) -> None:
    result = mcinterp.generate_patched(pair, TEXTS, sites=["resid_pre"], layers=2, decoding=Decoding(8), controls=False)
    for index in np.ndindex(3, 2):
        at = {"prompt": index[0], "direction": index[1], "site": 0, "layer": 0, "sample": 0}
        ends = {k: at[k] for k in ("prompt", "direction", "sample")}
        mine, own = tokens(result["token_id"].isel(at)), tokens(result["token_id_recipient"].isel(ends))
        assert int(result["n_tokens"].isel(at)) == len(mine)
        assert str(result["completion"].isel(at).values) == "".join(pair.base.tokenizer.convert_ids_to_tokens(mine))
        parted = next(
            (i for i, (a, b) in enumerate(zip(mine + [-1] * 8, own + [-1] * 8, strict=False)) if a != b), None
        )
        left = float(result["left_at"].isel(at))
        assert np.isnan(left) if parted is None else left == parted
    assert not [name for name in result.data_vars if not result[name].attrs.get("units")]


def test_completions_of_given_sequences_are_left_aside(pair: Chain) -> None:
    rendered = pair.render(Prompts.from_texts(TEXTS))
    given = with_completions(pair, rendered, [(5, 6), (7,) * 50, ()])
    options: dict[str, Any] = {"sites": ["resid_pre"], "decoding": Decoding(20), "controls": False}
    with_them, without = (mcinterp.generate_patched(pair, prompts, **options) for prompts in (given, rendered))
    np.testing.assert_array_equal(with_them["token_id"], without["token_id"])


def test_a_held_hook_that_does_not_fire_is_an_error(pair: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SITES, "z", Site("blocks.{layer}.attn.hook_hidden_states", "head"))
    with pytest.raises(LookupError, match="stage 'base': the hooks at .* did not fire in its architecture"):
        mcinterp.generate_patched(pair, TEXTS, sites=["z"], layers=1, decoding=Decoding(2))
    assert not [point for stage in pair.stages for point in stage.bridge.hook_dict.values() if point.fwd_hooks]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"directions": ["base_to_base"]}, "direction 'base_to_base' puts a run's own activations back"),
        ({"directions": ["base_to_late"]}, "direction 'base_to_late' is unknown"),
        ({"positions": "each"}, "got positions='each' for a held patch; give last or all"),
        ({"donor": "mean"}, "got donor='mean' for a held patch; give same or zero"),
        ({"samples": 0}, "got samples=0"),
    ],
)
def test_bad_requests_are_refused(pair: Chain, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        mcinterp.generate_patched(pair, TEXTS, **options)


def test_zero_activations_may_be_held_in_a_stages_own_run(pair: Chain) -> None:
    result = mcinterp.generate_patched(
        pair, TEXTS, sites=["attn_out"], layers=0, donor="zero", directions=["base_to_base"], decoding=Decoding(1)
    )
    once = mcinterp.patch(
        pair, TEXTS, sites=["attn_out"], layers=0, donor="zero", directions=["base_to_base"], interaction=False
    )
    np.testing.assert_allclose(result["entropy"].isel(sample=0, step=0), once["entropy"], atol=1e-4)
    random = once["entropy_control"].sel(control="random")
    np.testing.assert_allclose(
        result["entropy_control"].isel(sample=0, step=0).sel(control="random"), random, atol=1e-4
    )
