"""Completions against plain recomputation, and independence of the batch."""

import dataclasses

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from conftest import SHAPES, Build
from mcinterp.chain import Chain, load_pair
from mcinterp.completions import Decoding, before_end, choose, complete, complete_many
from mcinterp.errors import InputError

PROMPTS = [(3, 14, 15), (9, 2, 6, 5), (35, 8, 9), (7,)]


@pytest.mark.parametrize("architecture", SHAPES)
def test_greedy_completions_are_those_of_full_recomputation(tiny: Build, architecture: str) -> None:
    stage = load_pair(str(tiny(architecture)), str(tiny(architecture, "tuned"))).tuned
    plain = AutoModelForCausalLM.from_pretrained(tiny(architecture, "tuned"), attn_implementation="eager")
    for prompt, written in zip(PROMPTS, complete(stage, PROMPTS, Decoding(14), context=64), strict=True):
        ids = list(prompt)
        with torch.inference_mode():
            for _ in range(14):
                ids.append(int(plain(torch.tensor([ids])).logits[0, -1].argmax()))
        assert written == before_end(ids[len(prompt) :], stage.end_tokens)


def test_sampled_completions_depend_on_seed_and_sample_but_not_on_the_batch(pair: Chain) -> None:
    decoding = Decoding(12, temperature=1.0, seed=4)
    together = complete(pair.tuned, PROMPTS, decoding, context=64)
    again = complete(pair.tuned, PROMPTS, decoding, context=64)
    first_two = complete(pair.tuned, PROMPTS[:2], decoding, context=64)
    assert together == again
    assert together[:2] == first_two
    assert together != complete(pair.tuned, PROMPTS, dataclasses.replace(decoding, sample=1), context=64)
    assert together != complete(pair.tuned, PROMPTS, dataclasses.replace(decoding, seed=5), context=64)


def test_sampling_has_the_distribution_of_the_logits() -> None:
    q = torch.tensor([0.5, 0.0, 0.2, 0.3])
    uniform = torch.from_numpy(np.random.default_rng(0).random(20_000)).float()
    drawn = choose(q.log().expand(20_000, 4), uniform, 1.0)
    shares = torch.bincount(drawn, minlength=4) / 20_000
    torch.testing.assert_close(shares, q, atol=0.011, rtol=0)
    assert shares[1] == 0
    cold = choose(q.log().expand(20_000, 4), uniform, 0.5)
    sharpened = q**2 / (q**2).sum()
    torch.testing.assert_close(torch.bincount(cold, minlength=4) / 20_000, sharpened, atol=0.011, rtol=0)


def test_completions_stop_at_the_context_and_before_the_end_token(pair: Chain) -> None:
    assert all(len(c) <= 2 for c in complete(pair.tuned, [tuple(range(2, 10))], Decoding(12), context=10))
    assert complete(pair.tuned, [tuple(range(2, 12))], Decoding(12), context=10 + 0) == [()]
    assert before_end([5, 6, 1, 7], frozenset({1})) == (5, 6)
    assert before_end([1, 5], frozenset({1})) == ()


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_prompts_that_end_at_the_context_do_not_disturb_their_batch(tiny: Build, architecture: str) -> None:
    stage = load_pair(str(tiny(architecture)), str(tiny(architecture, "tuned"))).tuned
    long, short = tuple(2 + i % 50 for i in range(62)), (9, 2, 6, 5)
    together = complete(stage, [long, short, long[:-20]], Decoding(40), context=64)
    assert [len(c) <= n for c, n in zip(together, (2, 40, 22), strict=True)] == [True] * 3
    for prompt, written in zip((long, short, long[:-20]), together, strict=True):
        assert complete(stage, [prompt], Decoding(40), context=64) == [written]


def test_several_completions_are_the_streams_one_by_one(pair: Chain) -> None:
    decoding = Decoding(8, temperature=1.0, seed=2, sample=5)
    several = complete_many(pair.tuned, PROMPTS, decoding, context=64, samples=3)
    for n in range(3):
        alone = complete(pair.tuned, PROMPTS, dataclasses.replace(decoding, sample=5 + n), context=64)
        assert [each[n] for each in several] == alone


def test_no_new_tokens_and_bad_settings() -> None:
    with pytest.raises(InputError, match="max_new_tokens=-1 and temperature=0.0; both must be 0 or more"):
        Decoding(-1)
    with pytest.raises(InputError, match="temperature=-0.5"):
        Decoding(3, temperature=-0.5)
