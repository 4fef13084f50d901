"""Donors, donor prompts, read positions and metrics against the reference, and requests that are refused."""

from typing import Any

import numpy as np
import pytest
import torch
from patching_reference import (
    BARE,
    HOOKS,
    activations,
    assert_reads,
    encoded,
    ends_at,
    log_probs,
    measures,
    patched,
    putting,
    tiny_pair,
)

import mcinterp
from conftest import Build
from mcinterp.chain import Chain
from mcinterp.errors import InputError
from mcinterp.prompts import Prompts
from mcinterp.sequences import Sequences, with_completions

TEXTS = ["Are bugs real?", "abc", "Pick a number:"]
SITES = ("resid_pre", "attn_out", "z", "k", "mlp_post")


def completed(chain: Chain) -> Sequences:
    """Prompts with completions of different lengths."""
    return with_completions(chain, chain.render(Prompts.from_texts(TEXTS)), [(5, 6, 7, 8), (9,), (10, 11, 12)])


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gpt_neox"])
@pytest.mark.parametrize("positions", ["last", "all", [-1, 1]])
def test_later_positions_are_read_along_a_completion(tiny: Build, architecture: str, positions: Any) -> None:
    pair = tiny_pair(tiny, architecture)
    sequences = completed(pair)
    result = mcinterp.patch(
        pair, sequences, sites=SITES, layers=[1], positions=positions, read_at=[3, 0, 1], engine="fast", **BARE
    )
    assert result["read_at"].values.tolist() == [0, 1, 3]
    for prompt, ids in enumerate(sequences.ids):
        zero = len(sequences.prompts.token_ids[prompt]) - 1
        columns = [zero] if positions == "last" else range(len(ids)) if positions == "all" else [zero - 1, zero + 1]
        given = activations(pair.base, ids)
        for site in SITES:
            q = patched(pair.tuned, ids, given, [site], [1], columns)
            for read in (0, 1, 3):
                cell = result.isel(prompt=prompt, layer=0).sel(direction="base_to_tuned", site=site, read_at=read)
                if zero + read < len(ids):
                    assert_reads(cell, q[zero + read], ends_at(pair, "base_to_tuned", ids, zero + read))
                else:
                    assert np.isnan(cell["entropy"])
                    assert np.isnan(cell["entropy_donor"])


def test_a_patch_behind_the_read_position_is_missing(pair: Chain) -> None:
    result = mcinterp.patch(pair, completed(pair), positions=[0, 1], each_position=True, read_at=[0, 1], **BARE)
    effect = abs(result["entropy"] - result["entropy_recipient"]).sel(position=1, read_at=0)
    assert float(effect.max()) < 1e-5
    assert bool(result["entropy"].sel(position=1, read_at=1).notnull().all())


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_donor_prompts_stand_in_for_the_prompts(tiny: Build, architecture: str) -> None:
    pair, others = tiny_pair(tiny, architecture), ["Two bugs fly!!", "xyz", "Drop a number."]
    result = mcinterp.patch(
        pair, TEXTS, donor_prompts=others, sites=SITES, layers=[0, 1], positions=slice(-2, 1),
        directions=["base_to_base", "tuned_to_base"], engine="fast",
    )  # fmt: skip
    for prompt, (text, other) in enumerate(zip(TEXTS, others, strict=True)):
        ids, theirs = encoded(pair, text), encoded(pair, other)
        for direction, donor in (("base_to_base", pair.base), ("tuned_to_base", pair.tuned)):
            given, cells = activations(donor, theirs), result.isel(prompt=prompt).sel(direction=direction, layer=1)
            base, end = log_probs(pair.base, ids)[-1], log_probs(donor, theirs)[-1]
            followed = log_probs(donor, ids)[-1].argmax()
            for site in SITES:
                q = patched(pair.base, ids, given, [site], [1], range(len(ids) - 3, len(ids)))[-1]
                for name, value in measures(q, end, base, base, int(followed)).items():
                    assert float(cells[name].sel(site=site)) == pytest.approx(value, abs=1e-4), (name, site)
    assert not [name for name in result.data_vars if "interaction" in str(name)]


@pytest.mark.parametrize("donor", ["mean", "zero"])
def test_mean_and_zero_stand_in_for_the_donors_activation(pair: Chain, donor: Any) -> None:
    result = mcinterp.patch(pair, TEXTS, sites=SITES, layers=[1], positions=[-2, 0], donor=donor, engine="fast", **BARE)
    for site in SITES:
        name = HOOKS[site].format(1)
        every = [activations(pair.base, encoded(pair, text))[name] for text in TEXTS]
        for prompt, text in enumerate(TEXTS):
            ids = encoded(pair, text)
            given = torch.zeros_like(every[prompt])
            for place in (-3, -1):
                if donor == "mean":
                    given[0, place] = torch.stack([each[0, place] for each in every]).mean(0)
            q = log_probs(pair.tuned, ids, [putting(name, given, [len(ids) - 3, len(ids) - 1])])[-1]
            cell = result.isel(prompt=prompt, layer=0).sel(direction="base_to_tuned", site=site)
            assert_reads(cell, q, ends_at(pair, "base_to_tuned", ids))


def test_a_mean_runs_over_the_prompts_that_have_the_position(pair: Chain) -> None:
    result = mcinterp.patch(pair, TEXTS, sites=["resid_pre"], layers=[1], positions=-9, each_position=True,
                            donor="mean", **BARE)  # fmt: skip
    ids, name = encoded(pair, TEXTS[0]), HOOKS["resid_pre"].format(1)
    long = [activations(pair.base, encoded(pair, TEXTS[i]))[name] for i in (0, 2)]
    given = long[0].clone()
    given[0, -10] = (long[0][0, -10] + long[1][0, -10]) / 2
    q = log_probs(pair.tuned, ids, [putting(name, given, [len(ids) - 10])])[-1]
    cell = result.isel(prompt=0, site=0, layer=0, position=0).sel(direction="base_to_tuned")
    assert_reads(cell, q, ends_at(pair, "base_to_tuned", ids))
    assert np.isnan(result["entropy"].isel(prompt=1)).all()


def test_metrics_may_be_the_callers_own(pair: Chain) -> None:
    metrics = {"seventh": lambda r: r.log_probs[:, 7], "shift": lambda r: (r.log_probs - r.donor)[:, 3]}
    result = mcinterp.patch(pair, TEXTS, sites=["z", "resid_post"], metrics=metrics, **BARE)
    assert {"seventh", "seventh_donor", "seventh_recipient", "shift"} <= set(result.data_vars)
    for prompt, text in enumerate(TEXTS):
        ids = encoded(pair, text)
        q = patched(pair.base, ids, activations(pair.tuned, ids), ["z"], [1], [len(ids) - 1])[-1]
        cell = result.isel(prompt=prompt).sel(direction="tuned_to_base", site="z", layer=1)
        end = log_probs(pair.tuned, ids)[-1]
        assert float(cell["seventh"]) == pytest.approx(float(q[7]), abs=1e-4)
        assert float(cell["seventh_donor"]) == pytest.approx(float(end[7]), abs=1e-4)
        assert float(cell["shift"]) == pytest.approx(float(q[3] - end[3]), abs=1e-4)


def test_the_attractor_may_be_named(pair: Chain) -> None:
    result = mcinterp.patch(pair, TEXTS, sites=["z"], attractor=7, metrics=["attractor_log_prob"], **BARE)
    seventh = mcinterp.patch(pair, TEXTS, sites=["z"], metrics={"seventh": lambda r: r.log_probs[:, 7]}, **BARE)
    np.testing.assert_allclose(result["attractor_log_prob"], seventh["seventh"], atol=1e-6)
    assert set(result["attractor"].values.flatten().tolist()) == {7}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"directions": ["base_to_later"]}, "direction 'base_to_later' is unknown; give DONOR_to_RECIPIENT"),
        ({"directions": ["tuned_to_tuned"]}, "direction 'tuned_to_tuned' puts a run's own activations back"),
        ({"directions": []}, "no direction was given"),
        ({"donor_prompts": ["one"]}, "got 1 donor prompts for 3 prompts; give one for each"),
        (
            {"donor_prompts": ["Are bugs real?", "abcd", "Pick a number:"]},
            "donor prompt 1 has 4 tokens and its prompt 3",
        ),
        ({"donor": "median"}, "donor 'median' is unknown; give one of same, mean, zero"),
        ({"donor": "mean", "sites": ["pattern"]}, "a mean attention pattern over prompts is not defined"),
        ({"read_at": 1}, r"got read_at=\[1\] and the sequences have positions 0 to 0"),
        ({"read_at": -1}, r"got read_at=\[-1\]"),
        ({"read_at": []}, r"got read_at=\[\]"),
        ({"attractor": 85}, "attractor 85 is no token id below 85"),
        ({"attractor": -1}, "attractor -1 is no token id"),
        ({"metrics": ["surprise"]}, "metric 'surprise' is unknown; give some of entropy, attractor_log_prob"),
        (
            {"metrics": {"whole": lambda r: r.log_probs}},
            r"metric 'whole' gave an array of shape \(\d+, 85\) for \d+ rows",
        ),
        ({"metrics": {"one": lambda r: r.log_probs.mean()}}, r"metric 'one' gave an array of shape \(\)"),
        ({"engine": "quick"}, "engine 'quick' is unknown; give one of auto, fast, plain"),
    ],
)
def test_bad_requests_are_refused(pair: Chain, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        mcinterp.patch(pair, TEXTS, **options)


def test_one_string_is_not_taken_for_a_list_of_letters(pair: Chain) -> None:
    with pytest.raises(InputError, match="one string was given"):
        mcinterp.patch(pair, "Are bugs real?")


def test_a_function_cannot_take_a_built_in_metrics_name(pair: Chain) -> None:
    with pytest.raises(InputError, match="metric 'entropy' is a built-in one"):
        mcinterp.patch(pair, TEXTS, metrics={"entropy": lambda reading: reading.log_probs[:, 0]})
