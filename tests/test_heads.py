"""Head scores on patterns made by hand, on a bridge against plain loops, and copying against the whole matrix."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers.processors import TemplateProcessing
from transformers import AutoModelForCausalLM

from conftest import Build, save_checkpoint, tokenizer
from mcinterp.chain import Chain, load_pair
from mcinterp.copying import copying_scores, eigenvalue_share, ov_circuit, unembed_embed
from mcinterp.errors import InputError
from mcinterp.folding import block_norm
from mcinterp.heads import head_scores, repeat_scores, repeated_half, repeated_tokens

TEXTS = ["Are bugs real?", "one", "Pick a number:"]
ARCHITECTURES = ("llama", "gpt2", "qwen2", "gemma2", "olmo2", "gpt_neox")


def test_heads_made_by_hand_score_one() -> None:
    half, bos = 5, 1
    size = bos + 2 * half
    patterns = torch.zeros(2, 3, 4, size, size)
    for query in range(size):
        patterns[0, :, 0, query, max(query - half + 1, 0)] = 1
        patterns[0, :, 1, query, max(query - half, 0)] = 1
        patterns[1, :, 2, query, max(query - 1, 0)] = 1
        patterns[1, :, 3, query, : query + 1] = 1 / (query + 1)
    found = repeat_scores(patterns, half)
    assert len(found) == 3
    expected = {name: np.zeros((2, 4)) for name in found[0]}
    expected["induction_score"][0, 0] = expected["duplicate_token_score"][0, 1] = 1
    expected["previous_token_score"][1, 2] = 1
    second, said = range(bos + half, size), range(bos + 1, size)
    spread = {"induction_score": second, "duplicate_token_score": second, "previous_token_score": said}
    for name, queries in spread.items():
        expected[name][1, 3] = np.mean([1 / (query + 1) for query in queries])
        for scores in found:
            np.testing.assert_allclose(scores[name], expected[name], atol=1e-6)


def test_scores_are_those_of_plain_attention(pair: Chain, tiny: Build) -> None:
    found = head_scores(pair, TEXTS, length=6, repeats=2, seed=3)
    plain = AutoModelForCausalLM.from_pretrained(tiny("llama", "tuned"), attn_implementation="eager")
    sums = dict.fromkeys(("induction_score", "duplicate_token_score", "previous_token_score"), 0.0)
    for ids in repeated_tokens(pair, 6, 2, 3):
        with torch.inference_mode():
            pattern = torch.stack(plain(torch.tensor([ids]), output_attentions=True).attentions)[:, 0]
        for query in range(6, 12):
            sums["induction_score"] += pattern[..., query, ids.index(ids[query]) + 1] / 12
            sums["duplicate_token_score"] += pattern[..., query, ids.index(ids[query])] / 12
        for query in range(1, 12):
            sums["previous_token_score"] += pattern[..., query, query - 1] / 22
    for name, value in sums.items():
        np.testing.assert_allclose(found[name].sel(stage="tuned"), value, atol=1e-5)


def test_attention_on_prompts_is_that_of_plain_loops(pair: Chain, tiny: Build) -> None:
    found = head_scores(pair, TEXTS, repeats=1).sel(stage="tuned")
    plain = [
        AutoModelForCausalLM.from_pretrained(tiny("llama", stage), attn_implementation="eager")
        for stage in ("base", "tuned")
    ]
    for index, text in enumerate(TEXTS):
        ids = torch.tensor([pair.base.tokenizer(text).input_ids])
        with torch.inference_mode():
            base, tuned = (torch.stack(each(ids, output_attentions=True).attentions)[:, 0] for each in plain)
        entropy = torch.distributions.Categorical(probs=tuned).entropy()
        distance = (tuned - base).abs().sum(-1) / 2
        for name, values in (("attention_entropy", entropy), ("attention_distance", distance)):
            np.testing.assert_allclose(found[name].isel(prompt=index), values[..., -1], atol=1e-4)
            np.testing.assert_allclose(found[f"{name}_mean"].isel(prompt=index), values.mean(-1), atol=1e-4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_folded_ov_circuits_write_what_attention_writes(tiny: Build, architecture: str) -> None:
    stage = load_pair(str(tiny(architecture)), str(tiny(architecture, "tuned"))).tuned
    with torch.inference_mode():
        _, cache = stage.bridge.run_with_cache(torch.tensor([[5, 6, 7, 8, 40]]))
    for layer in (0, 2):
        v, o = ov_circuit(stage, layer)
        assert (v.shape, o.shape) == ((4, 24, 6), (4, 6, 24))
        before, behind = block_norm(stage, layer, "ln1"), block_norm(stage, layer, "ln1_post")
        stream = cache[f"blocks.{layer}.hook_in"][0].double()
        stream = stream if before is None else stream / before.scale(stream)
        pattern = cache[f"blocks.{layer}.attn.hook_pattern"][0].double()
        mine = (pattern @ (stream @ v) @ o).sum(dim=0)
        written = cache[f"blocks.{layer}.attn.o.hook_out"][0].double()
        written = written if behind is None else behind.linear(written)
        torch.testing.assert_close(mine - mine[0], written - written[0], atol=1e-5, rtol=1e-4)


def test_copying_is_that_of_the_whole_token_by_token_matrix(pair: Chain) -> None:
    stage, found = pair.tuned, copying_scores(pair.tuned)
    embed, unembed = (each.original_component.weight.double() for each in (stage.bridge.embed, stage.bridge.unembed))
    gain = stage.bridge.ln_final.original_component.weight.double()
    for layer in (0, 2):
        v, o = ov_circuit(stage, layer)
        for head in range(4):
            whole = (embed @ v[head] @ o[head] * gain @ (unembed - unembed.mean(dim=0)).T).detach().numpy()
            values = np.linalg.eigvals(whole)
            assert found[layer, head] == pytest.approx(values.real.sum() / np.abs(values).sum(), abs=1e-5)


def test_a_head_that_copies_scores_one_and_its_opposite_minus_one() -> None:
    torch.manual_seed(0)
    v = torch.randn(3, 7, 2, dtype=torch.float64)
    o = torch.stack([v[0].T, -v[1].T, torch.zeros_like(v[2]).T])
    found = eigenvalue_share(v, o, torch.eye(7, dtype=torch.float64))
    np.testing.assert_allclose(found, [1.0, -1.0, np.nan])


def test_copying_is_missing_without_projections(pair: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(pair.tuned.bridge.blocks[1].attn._modules, "v")
    with pytest.raises(InputError, match="layer 1: its attention has no value and output projections"):
        ov_circuit(pair.tuned, 1)
    assert np.isnan(copying_scores(pair.tuned)).all()
    assert unembed_embed(pair.tuned).shape == (24, 24)


def test_an_identical_pair_gives_exact_zeros(identical: Chain) -> None:
    found = head_scores(identical, TEXTS, repeats=2)
    for name in found.data_vars:
        np.testing.assert_array_equal(found[name].isel(stage=0), found[name].isel(stage=1))
        assert "units" in found[name].attrs
    for name in ("attention_distance", "attention_distance_mean"):
        assert bool((found[name] == 0).all())


def test_random_tokens_are_distinct_usable_and_fixed_by_the_seed(pair: Chain) -> None:
    for ids in (drawn := repeated_tokens(pair, 9, 4, seed=1)):
        assert ids[:9] == ids[9:]
        assert len(set(ids[:9])) == 9
        assert not set(ids) & set(pair.base.tokenizer.all_special_ids)
    assert drawn == repeated_tokens(pair, 9, 4, seed=1)
    assert drawn != repeated_tokens(pair, 9, 4, seed=2)
    assert repeated_half(pair, repeated_tokens(pair, None, 1, seed=0)) == 32


def test_a_bos_stands_in_front_where_the_tokenizer_puts_one(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path / "bos", "llama", seed=0)
    made = tokenizer()
    made._tokenizer.post_processor = TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 0)])
    made.save_pretrained(folder)
    pair = load_pair(str(folder), str(folder))
    ids = repeated_tokens(pair, None, 1, seed=0)
    assert ids[0][0] == 0
    assert len(ids[0]) == 63
    assert repeated_half(pair, ids) == 31
    assert 0 not in ids[0][1:]


def test_bad_input_is_refused(pair: Chain) -> None:
    with pytest.raises(InputError, match="33 random tokens said twice .* allow 2 to 32"):
        head_scores(pair, TEXTS, length=33)
    with pytest.raises(InputError, match="0 random sequences were asked for"):
        head_scores(pair, TEXTS, repeats=0)
