"""Each misalignment is refused with its sentence; what may differ is only said."""

import json
from pathlib import Path

import pytest
import torch

from conftest import CHARACTERS, VOCABULARY, Build, save_checkpoint, tokenizer
from mcinterp.alignment import AlignmentError
from mcinterp.chain import Chain, load_pair
from mcinterp.completions import Decoding
from mcinterp.prompts import Prompts
from mcinterp.sequences import teacher_force


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_hidden_layers": 2}, r"differ in n_layers \(base: 3, tuned: 2\); give checkpoints of one architecture"),
        ({"hidden_size": 32, "head_dim": 8}, r"differ in d_model \(base: 24, tuned: 32\)"),
        ({"num_attention_heads": 2}, r"differ in n_heads \(base: 4, tuned: 2\)"),
        ({"num_key_value_heads": 4}, r"differ in n_key_value_heads \(base: 2, tuned: 4\)"),
        ({"intermediate_size": 44}, r"differ in d_mlp \(base: 40, tuned: 44\)"),
    ],
)
def test_other_shapes_are_refused(tiny: Build, tmp_path: Path, changes: dict, message: str) -> None:
    other = save_checkpoint(tmp_path / "other", "llama", seed=5, **changes)
    with pytest.raises(AlignmentError, match=message):
        load_pair(str(tiny("llama")), str(other), names=["base", "tuned"])


def test_other_architectures_are_refused(tiny: Build) -> None:
    with pytest.raises(AlignmentError, match="differ in architecture .*LlamaForCausalLM.*Qwen2ForCausalLM"):
        load_pair(str(tiny("llama")), str(tiny("qwen2")))


def test_another_softcap_is_refused(tiny: Build, tmp_path: Path) -> None:
    other = save_checkpoint(tmp_path / "other", "gemma2", seed=5, final_logit_softcapping=4.0)
    with pytest.raises(AlignmentError, match=r"differ in logit softcap \(base: 2.0, tuned: 4.0\)"):
        load_pair(str(tiny("gemma2")), str(other), names=["base", "tuned"])


def test_another_vocabulary_is_refused_naming_the_first_token(tiny: Build, tmp_path: Path) -> None:
    other = save_checkpoint(tmp_path / "other", "llama", seed=5)
    swapped = [*CHARACTERS[:5], CHARACTERS[6], CHARACTERS[5], *CHARACTERS[7:]]
    tokenizer(swapped).save_pretrained(other)
    with pytest.raises(AlignmentError, match=r"differ in vocabulary \(base: id 5 is 'd', tuned: id 5 is 'e'\)"):
        load_pair(str(tiny("llama")), str(other), names=["base", "tuned"])


def test_a_padded_vocabulary_is_cut_to_the_common_part_and_said(tiny: Build, tmp_path: Path) -> None:
    padded = save_checkpoint(tmp_path / "padded", "llama", seed=5, vocab_size=VOCABULARY + 9)
    pair = load_pair(str(tiny("llama")), str(padded), names=["base", "padded"])
    rows = next(entry for entry in pair.alignment.properties if entry.name == "vocabulary rows")
    assert rows.verdict == "cut"
    assert rows.values == (str(VOCABULARY), str(VOCABULARY + 9))
    read = pair.tuned.readout.log_probs(torch.randn(2, 24))
    assert read.shape == (2, VOCABULARY)
    torch.testing.assert_close(read.exp().sum(-1), torch.ones(2))


def test_another_bos_rule_is_refused_at_the_prompt(tiny: Build, tmp_path: Path) -> None:
    other = save_checkpoint(tmp_path / "other", "llama", seed=5)
    made = json.loads((other / "tokenizer.json").read_text())
    template = {"single": [{"SpecialToken": {"id": "<bos>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]}
    special = {"<bos>": {"id": "<bos>", "ids": [0], "tokens": ["<bos>"]}}
    made["post_processor"] = {
        "type": "TemplateProcessing",
        **template,
        "pair": [*template["single"], {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": special,
    }
    (other / "tokenizer.json").write_text(json.dumps(made))
    pair = load_pair(str(tiny("llama")), str(other), names=["base", "tuned"])
    assert next(e for e in pair.alignment.properties if e.name == "BOS put before raw text").values == ("no", "yes")
    with pytest.raises(
        AlignmentError,
        match=r"token ids of prompt 1 \('hi'\) at position 0 \(base: \d+ 'h', tuned: 0 '<bos>'\)|token ids of prompt 0",
    ):
        pair.render(Prompts.from_texts(["ab", "hi"]))


def test_a_token_that_one_stage_has_no_row_for_is_refused(tiny: Build, tmp_path: Path) -> None:
    small = save_checkpoint(tmp_path / "small", "llama", seed=5, vocab_size=VOCABULARY - 4)
    pair = load_pair(str(tiny("llama")), str(small), names=["base", "small"])
    assert pair.alignment.vocabulary == VOCABULARY - 4
    pair.render(Prompts.from_texts(["fine"]))
    with pytest.raises(
        AlignmentError, match=r"differ in embeddings of the prompts' tokens .*; render raw, or leave out"
    ):
        pair.render(Prompts.from_texts([CHARACTERS[-1]]))


def test_generation_settings_are_reported_and_never_used(tiny: Build, tmp_path: Path) -> None:
    other = save_checkpoint(tmp_path / "other", "llama", seed=0, noise_of=None)
    settings = json.loads((other / "generation_config.json").read_text())
    (other / "generation_config.json").write_text(json.dumps({**settings, "repetition_penalty": 1.3}))
    pair = load_pair(str(tiny("llama")), str(other), names=["base", "tuned"])
    entry = next(e for e in pair.alignment.properties if e.name == "generation settings")
    assert entry.verdict == "reported"
    assert "1.3" in entry.values[1]
    assert "1.3" not in entry.values[0]
    sequences = [teacher_force(pair, pair.render(Prompts.from_texts(["aaaa"])), Decoding(8), by=n) for n in pair.names]
    assert sequences[0].completions == sequences[1].completions


def test_what_may_differ_is_reported(pair: Chain) -> None:
    verdicts = {entry.name: entry.verdict for entry in pair.alignment.properties}
    assert verdicts["chat template"] == "reported"
    assert verdicts["n_layers"] == "same"
    assert not pair.alignment.refused
    assert "chat template" in str(pair.alignment)


def test_the_report_holds_every_prompts_ids_under_each_tokenizer(pair: Chain) -> None:
    rendered, alignment = pair.align(Prompts.from_texts(["abc", "de"]))
    assert alignment.prompts == (rendered.token_ids, rendered.token_ids)
    record = alignment.to_dict()
    assert record["aligned"]
    assert record["prompt_token_ids"] == {"all stages": [list(ids) for ids in rendered.token_ids]}
    json.dumps(record)
