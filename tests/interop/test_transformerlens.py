"""TransformerLens' own analysis tools on the same checkpoints give the numbers of this library."""

from typing import Any

import numpy as np
import pytest
import torch
from transformer_lens import patching

import mcinterp
from interop.conftest import bridge_of
from mcinterp.chain import Chain
from mcinterp.divergence import entropy, log_probs
from mcinterp.intervene.inputs import as_sequences
from mcinterp.organisms import pocket_path

TEXT = "Are bugs real?"
TOLERANCE = 2e-5


@pytest.fixture(scope="module")
def tokens(loaded: Chain) -> torch.Tensor:
    """One prompt."""
    return torch.tensor(loaded.render(mcinterp.Prompts.from_texts([TEXT])).token_ids)


@pytest.fixture(scope="module")
def processed(tokens: torch.Tensor) -> tuple[Any, Any]:
    """The tuned stage with folded norms and a centred unembedding, as TransformerLens' tools want it, and its cache."""
    bridge = bridge_of(pocket_path("sft"))
    bridge.enable_compatibility_mode(disable_warnings=True)
    with torch.no_grad():
        return bridge, bridge.run_with_cache(tokens)[1]


def head_name(label: str) -> str:
    """A component of this library by TransformerLens' name."""
    if label.startswith("L"):
        layer, head = label[1:].split("H")
        return f"{layer}.attn.{head}"
    return label.replace("_attn_out", ".attn").replace("_mlp_out", ".mlp")


@torch.no_grad()
def test_logit_attrs_of_components_are_the_direct_logit_attribution(loaded: Chain, processed: tuple[Any, Any]) -> None:
    ours = mcinterp.direct_logit_attribution(loaded, [TEXT], by="component")
    stack, labels = processed[1].decompose_resid(return_labels=True)
    theirs = processed[1].logit_attrs(stack, tokens=int(ours["attractor"][0]))[:, 0, -1]
    for label, value in zip(labels, theirs.tolist(), strict=True):
        mine = ours["attribution"].isel(prompt=0).sel(stage="sft", component=head_name(label))
        assert abs(float(mine) - value) < TOLERANCE, label
    assert abs(float(theirs.sum()) - float(ours["total"].sel(stage="sft")[0])) < TOLERANCE


@torch.no_grad()
def test_logit_attrs_of_heads_are_the_direct_logit_attribution(loaded: Chain, processed: tuple[Any, Any]) -> None:
    ours = mcinterp.direct_logit_attribution(loaded, [TEXT], by="head")
    stack, labels = processed[1].stack_head_results(return_labels=True)
    theirs = processed[1].logit_attrs(stack, tokens=int(ours["attractor"][0]))[:, 0, -1]
    assert len(labels) == 24
    for label, value in zip(labels, theirs.tolist(), strict=True):
        mine = ours["attribution"].isel(prompt=0).sel(stage="sft", component=head_name(label))
        assert abs(float(mine) - value) < TOLERANCE, label


@torch.no_grad()
def test_accumulated_resid_reads_as_the_logit_lens(
    loaded: Chain, bridges: dict[str, Any], tokens: torch.Tensor
) -> None:
    lens = mcinterp.logit_lens(loaded, as_sequences(loaded, [TEXT])).sel(lens="own", stage="sft").isel(prompt=0)
    cache = bridges["sft"].run_with_cache(tokens)[1]
    streams, labels = cache.accumulated_resid(incl_mid=True, apply_ln=True, return_labels=True)
    for stream, label in zip(streams @ bridges["sft"].W_U, labels, strict=True):
        layer, site = (5, "post") if label == "final_post" else label.split("_")
        mine = lens["entropy"].sel(layer=int(layer), site=f"resid_{site}")
        assert np.allclose(mine, entropy(log_probs(stream[0])), atol=TOLERANCE), label


@pytest.mark.parametrize("site", ["resid_pre", "resid_mid", "attn_out", "mlp_out"])
@torch.no_grad()
def test_its_patching_sweeps_are_those_of_patch(
    site: str, loaded: Chain, bridges: dict[str, Any], tokens: torch.Tensor
) -> None:
    ours = mcinterp.patch(
        loaded, [TEXT], sites=[site], positions="each", directions=["base_to_tuned"], metrics=["attractor_log_prob"],
        attractor=542, controls=False, interaction=False,
    )["attractor_log_prob"].squeeze()  # fmt: skip
    cache = bridges["base"].run_with_cache(tokens)[1]
    sweep = getattr(patching, f"get_act_patch_{site}")
    theirs = sweep(bridges["sft"], tokens, cache, lambda logits: log_probs(logits[0, -1])[542])
    carried = ours.transpose("layer", "position").values
    assert carried.shape == tuple(theirs.shape)
    assert np.allclose(carried, theirs.numpy(), atol=TOLERANCE)


@torch.no_grad()
def test_its_patching_of_heads_is_that_of_patch(loaded: Chain, bridges: dict[str, Any], tokens: torch.Tensor) -> None:
    ours = mcinterp.patch(
        loaded, [TEXT], sites=["z", "pattern"], heads="each", positions="all", directions=["base_to_tuned"],
        metrics=["attractor_log_prob"], attractor=542, controls=False, interaction=False,
    )["attractor_log_prob"].squeeze()  # fmt: skip
    cache = bridges["base"].run_with_cache(tokens)[1]
    sweeps = {
        "z": patching.get_act_patch_attn_head_out_all_pos,
        "pattern": patching.get_act_patch_attn_head_pattern_all_pos,
    }
    for site, sweep in sweeps.items():
        theirs = sweep(bridges["sft"], tokens, cache, lambda logits: log_probs(logits[0, -1])[542])
        assert np.allclose(ours.sel(site=site).transpose("layer", "head"), theirs.numpy(), atol=TOLERANCE)
