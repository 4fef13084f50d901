"""Attention patterns are the model's own."""

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from conftest import Build
from mcinterp.attention import attention_patterns
from mcinterp.chain import Chain
from mcinterp.completions import Decoding
from mcinterp.prompts import Prompts
from mcinterp.sequences import teacher_force


def test_patterns_are_those_of_plain_transformers_and_rows_sum_to_one(pair: Chain, tiny: Build) -> None:
    sequences = teacher_force(pair, pair.render(Prompts.from_texts(["Are bugs real?", "one"])), Decoding(3))
    found = attention_patterns(pair, sequences, prompts=[1, 0])
    assert found["attention"].dims == ("stage", "prompt", "layer", "head", "query", "key")
    plain = AutoModelForCausalLM.from_pretrained(tiny("llama", "tuned"), attn_implementation="eager")
    for index, ids in enumerate(sequences.ids):
        with torch.inference_mode():
            expected = torch.stack(plain(torch.tensor([ids]), output_attentions=True).attentions)[:, 0]
        mine = found["attention"].isel(stage=1).sel(prompt=index)[:, :, : len(ids), : len(ids)]
        np.testing.assert_allclose(mine, expected, atol=1e-5)
        np.testing.assert_allclose(mine.sum("key"), 1.0, atol=1e-5)
    short = found["attention"].sel(prompt=1)
    assert bool(short[..., len(sequences.ids[1]) :].isnull().all())
