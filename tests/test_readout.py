"""The last lens layer is the model, on every way an architecture turns its residual into logits."""

import dataclasses

import pytest
import torch
from transformers import AutoModelForCausalLM

from conftest import SHAPES, Build
from mcinterp.batching import pad
from mcinterp.capture import Point, capture
from mcinterp.chain import load_pair
from mcinterp.divergence import log_probs
from mcinterp.errors import InputError

IDS = (3, 14, 15, 9, 2, 6, 5, 35, 8, 9, 7)


@pytest.mark.parametrize("architecture", SHAPES)
def test_last_residual_reads_out_as_plain_transformers_says(tiny: Build, architecture: str) -> None:
    stage = load_pair(str(tiny(architecture)), str(tiny(architecture, "tuned"))).tuned
    hook = Point(stage.n_layers - 1, "resid_post").hook
    read = stage.readout.log_probs(capture(stage, pad([IDS]), [hook])[hook][0])
    plain = AutoModelForCausalLM.from_pretrained(tiny(architecture, "tuned"), attn_implementation="eager")
    with torch.inference_mode():
        expected = log_probs(plain(torch.tensor([IDS])).logits[0])
    torch.testing.assert_close(read, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("field", "value"), [("softcap", None), ("multiplier", 1.7)])
def test_a_readout_that_is_not_the_models_is_refused(tiny: Build, field: str, value: float | None) -> None:
    stage = load_pair(str(tiny("gemma2")), str(tiny("gemma2", "tuned"))).tuned
    broken = stage.with_bridge(stage.bridge, dataclasses.replace(stage.readout, **{field: value}))
    with pytest.raises(InputError, match="log-probabilities .* nats away from the model's own"):
        capture(broken, pad([IDS]), [Point(0, "resid_post").hook])


def test_half_precision_weights_are_widened_by_blocks(tiny: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcinterp.readout.VOCABULARY_BLOCK", 7)
    stage = load_pair(str(tiny("llama")), str(tiny("llama", "tuned")), dtype="bfloat16").tuned
    rows = torch.randn(5, 24)
    logits = stage.readout(rows)
    weight = stage.bridge.unembed.original_component.weight.float()
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, stage.readout.norm(rows) @ weight.T)
