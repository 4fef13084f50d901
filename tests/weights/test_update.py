"""Attribution of the update: equal to gradients of weights, complete, and right where the truth is known."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from conftest import SHAPES, Build, tokenizer
from mcinterp.chain import Chain, load_pair
from mcinterp.divergence import entropy, log_probs
from mcinterp.errors import InputError
from mcinterp.intervene.inputs import as_sequences
from mcinterp.prompts import Prompts
from mcinterp.sequences import with_completions
from mcinterp.weights.groups import groups_of, piece
from mcinterp.weights.scalar import SCALARS, judge
from mcinterp.weights.tensors import installed, slots_of
from mcinterp.weights.update import update_attribution

TEXTS = ["Are bugs real?", "one", "ab c"]


@pytest.fixture(params=SHAPES)
def each(request: pytest.FixtureRequest, tiny: Build) -> Chain:
    """A pair of every architecture."""
    return load_pair(str(tiny(request.param)), str(tiny(request.param, "tuned")))


def weight_gradients(chain: Chain, text: str, by: str, nodes: int) -> dict[str, float]:
    """The path integral of the entropy by plain autograd through weights, for one prompt alone."""
    own, theirs = slots_of(chain.base), slots_of(chain.tuned)
    deltas = {name: theirs[name].tensor - slot.tensor for name, slot in own.items()}
    ids = torch.tensor([as_sequences(chain, [text]).ids[0]])
    places, weights = np.polynomial.legendre.leggauss(nodes)
    found = {group.name: 0.0 for group in groups_of(chain.base, by)}
    for place, weight in zip((places + 1) / 2, weights / 2, strict=True):
        with installed(chain.base, {name: own[name].tensor + float(place) * delta for name, delta in deltas.items()}):
            parameters = {name: slot.holder._parameters[slot.attribute] for name, slot in own.items()}
            for parameter in parameters.values():
                parameter.requires_grad_(True)
            entropy(log_probs(chain.base.bridge(ids)[0, -1])).backward()
            for group in groups_of(chain.base, by):
                for tensor, part in group.members:
                    product = parameters[tensor].grad * deltas[tensor]
                    product = product if part is None else piece(own[tensor], part, product)
                    found[group.name] += weight * float(product.sum())
    return found


@pytest.mark.parametrize("by", ["tensor", "head"])
def test_attributions_are_those_of_gradients_of_weights(each: Chain, by) -> None:
    found = update_attribution(each, TEXTS, "entropy", by=by, nodes=3, limit=np.inf)["attribution"].sel(
        stage=each.names[1]
    )
    for prompt, text in enumerate(TEXTS):
        expected = weight_gradients(each, text, by, 3)
        assert found["component"].values.tolist() == list(expected)
        np.testing.assert_allclose(found.values[prompt], list(expected.values()), atol=2e-5)


@pytest.mark.parametrize("metric", SCALARS)
def test_attributions_sum_to_the_change(pair: Chain, metric: str) -> None:
    found = update_attribution(pair, TEXTS, metric, nodes=32)
    judged = judge(pair, as_sequences(pair, TEXTS), [0], None)
    ends = [judged.values(stage, {metric: SCALARS[metric]})[metric] for stage in pair.stages]
    np.testing.assert_allclose(found["total"].values[0], ends[1] - ends[0], atol=1e-5)
    np.testing.assert_allclose(found["attribution"].sum("component"), found["total"], rtol=0.01, atol=2e-3)
    gap = abs(found["attribution"].sum("component") - found["total"]) / np.maximum(abs(found["total"]), 0.1)
    np.testing.assert_allclose(found["completeness_error"], gap, atol=1e-5)


@pytest.mark.parametrize("by", ["layer", "kind", "component", "head"])
def test_groupings_agree_on_what_they_share(pair: Chain, by) -> None:
    fine = update_attribution(pair, TEXTS, by="tensor")["attribution"]
    coarse = update_attribution(pair, TEXTS, by=by)["attribution"]
    for layer in range(3):
        own = [a.sel(component=(a["layer"] == layer)).sum("component") for a in (fine, coarse)]
        if by != "kind":
            np.testing.assert_allclose(own[0], own[1], atol=1e-4)
    for site in ("embed", "norm", "unembed"):
        own = [a.sel(component=(a["site"] == site) & (a["layer"] < 0)).sum("component") for a in (fine, coarse)]
        np.testing.assert_allclose(own[0], own[1], atol=1e-4)


def test_weights_are_left_without_gradients_of_their_own(pair: Chain) -> None:
    update_attribution(pair, TEXTS)
    for slot in slots_of(pair.base).values():
        assert slot.holder._parameters[slot.attribute].grad is None
        assert slot.holder._parameters[slot.attribute].requires_grad


def test_an_identical_pair_has_no_attribution(identical: Chain) -> None:
    found = update_attribution(identical, TEXTS)
    assert (found["attribution"] == 0).all()
    assert (found["total"] == 0).all()
    assert (found["completeness_error"] == 0).all()


def test_a_plant_in_one_tensor_has_all_of_the_attribution(tiny: Build, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny("llama"))
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight += 0.2 * torch.randn(
            24, 40, generator=torch.Generator().manual_seed(0)
        )
    model.save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    planted = load_pair(str(tiny("llama")), str(tmp_path))
    found = update_attribution(planted, TEXTS, by="tensor")
    own = found["attribution"].sel(component="blocks.1.mlp.out.weight", drop=True)
    np.testing.assert_allclose(own, found["total"], atol=2e-3)
    assert (found["attribution"].drop_sel(component="blocks.1.mlp.out.weight") == 0).all()


def test_a_prompt_has_the_same_attribution_alone(pair: Chain) -> None:
    together = update_attribution(pair, TEXTS)["attribution"]
    for prompt, text in enumerate(TEXTS):
        alone = update_attribution(pair, [text])["attribution"]
        np.testing.assert_allclose(together.isel(prompt=prompt), alone.isel(prompt=0), atol=2e-5)


def test_steps_of_a_chain_follow_their_own_token_or_the_given_one(chain: Chain) -> None:
    each = update_attribution(chain, TEXTS, attractor=7)
    assert each["stage"].values.tolist() == ["tuned", "later"]
    assert each["from_stage"].values.tolist() == ["base", "tuned"]
    whole = update_attribution(chain, TEXTS, attractor=7, steps="base")
    np.testing.assert_allclose(each["total"].sum("stage"), whole["total"].sel(stage="later"), atol=1e-4)
    own = update_attribution(chain, TEXTS, "attractor_log_prob").sel(stage="tuned")
    middle = update_attribution(load_chain_of(chain, 2), TEXTS, "attractor_log_prob").sel(stage="tuned")
    np.testing.assert_allclose(own["attribution"], middle["attribution"], atol=1e-5)


def load_chain_of(chain: Chain, count: int) -> Chain:
    """The first stages of a chain."""
    return Chain(chain.stages[:count], chain.alignment)


def test_several_read_positions_are_averaged(pair: Chain) -> None:
    written = with_completions(pair, as_sequences(pair, TEXTS).prompts, [(5, 6, 7), (8, 9), (10,)])

    def found(read_at):
        return update_attribution(pair, written, "entropy", read_at=read_at, nodes=2, limit=np.inf)["attribution"]

    np.testing.assert_allclose(found((0, 1)), (found(0) + found(1)) / 2, atol=1e-5)


def test_functions_of_a_reading_are_metrics(pair: Chain) -> None:
    def log_prob_of_five(reading):
        return reading.log_probs[:, 5]

    found = update_attribution(pair, TEXTS, log_prob_of_five)
    assert '"metric": "log_prob_of_five"' in found.attrs["provenance"]
    np.testing.assert_allclose(found["attribution"].sum("component"), found["total"], rtol=0.05, atol=5e-3)


@pytest.mark.slow
def test_eight_nodes_are_enough_for_the_shipped_stages(pocket: Chain) -> None:
    found = update_attribution(load_chain_of(pocket, 3), Prompts.battery("pocket"), nodes=8)
    assert found["stage"].values.tolist() == ["sft", "rl"]
    assert int(found["nodes"].max()) == 8
    assert float(found["completeness_error"].max()) < 0.015
    gap = abs(found["attribution"].sum("component") - found["total"]).sum("prompt")
    assert (gap / abs(found["total"]).sum("prompt") < 0.005).all()
    best = found["attribution"].sel(stage="sft").mean("prompt").to_series().nlargest(2)
    assert {*best.index} == {"unembed", "0.mlp"}


def test_an_integral_that_does_not_converge_is_refused(pair: Chain) -> None:
    def jagged(reading):
        return reading.log_probs[:, 5] + 0.1 * (1e5 * reading.log_probs[:, 5]).sin()

    with pytest.raises(InputError, match="the attributions of prompt 0 miss their total by .* % with 64 nodes"):
        update_attribution(pair, ["one"], jagged, nodes=32)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "joy"}, "metric 'joy' is unknown; give one of entropy"),
        ({"by": "mood"}, "grouping 'mood' is unknown"),
        ({"steps": "all"}, "and one of each, base"),
        ({"nodes": 0}, "got nodes=0 and steps='each'; give 1 node or more"),
        ({"attractor": 85}, "attractor 85 is no token id below 85"),
        ({"read_at": 3}, "got read_at=\\[3\\] and the sequences have positions 0 to 0"),
    ],
)
def test_bad_requests_are_refused(pair: Chain, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        update_attribution(pair, TEXTS, **options)


def test_half_precision_gives_nearly_the_same_attribution() -> None:
    full, half = (load_pair("pocket:base", "pocket:sft", dtype=dtype) for dtype in ("float32", "bfloat16"))
    exact, rough = (update_attribution(pair, TEXTS[:1])["attribution"].values for pair in (full, half))
    assert np.abs(exact - rough).max() < 0.05 < np.abs(exact).max()
