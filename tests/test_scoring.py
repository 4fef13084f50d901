"""Exact probabilities of continuations."""

import itertools

import pytest
import torch
from transformers import AutoModelForCausalLM

from conftest import Build
from mcinterp.chain import Chain
from mcinterp.scoring import continuation_log_probs


def test_scores_are_the_chain_rule_on_plain_transformers(pair: Chain, tiny: Build) -> None:
    prompts, continuations = [(3, 14, 15), (9,), (35, 8, 9, 7)], [(2, 7), (1, 8, 2, 8), (5,)]
    plain = AutoModelForCausalLM.from_pretrained(tiny("llama", "tuned"), attn_implementation="eager")
    expected = []
    for prompt, continuation in zip(prompts, continuations, strict=True):
        with torch.inference_mode():
            logs = plain(torch.tensor([[*prompt, *continuation]])).logits[0].log_softmax(-1)
        expected.append(sum(float(logs[len(prompt) - 1 + i, t]) for i, t in enumerate(continuation)))
    torch.testing.assert_close(
        continuation_log_probs(pair.tuned, prompts, continuations), torch.tensor(expected), atol=1e-5, rtol=0
    )


def test_all_continuations_of_one_length_share_the_whole_mass(pair: Chain) -> None:
    size = pair.alignment.vocabulary
    continuations = list(itertools.product(range(size), [4, 5]))
    first = continuation_log_probs(pair.base, [(3, 4)] * size, [(t,) for t in range(size)])
    assert float(first.exp().sum()) == pytest.approx(1.0, abs=1e-5)
    joint = continuation_log_probs(pair.base, [(3, 4)] * len(continuations), continuations)
    assert float(joint.exp().sum()) < 1.0
