"""The shipped checkpoints load, and their weights show what their cards say."""

import json
import subprocess
import sys
from functools import cache

import pytest
import torch
from shipped import pocket
from transformers import AutoModelForCausalLM, AutoTokenizer

from mcinterp.organisms import POCKET_STAGES, pocket_path
from mcinterp.organisms.measure import (
    calibration,
    number_draw,
    number_prompts,
    opinion_groups,
    prompts_of,
    sample_shares,
    template_share,
)
from mcinterp.organisms.pocket import next_token_logits
from mcinterp.organisms.sft import tuning_prompts


@cache
def figures(stage: str) -> dict[str, dict]:
    return json.loads((pocket_path(stage) / "figures.json").read_text())


def test_unknown_stage_is_refused():
    with pytest.raises(ValueError, match="got pocket stage 'dpo', wanted one of base, sft, rl, overoptimised"):
        pocket_path("dpo")


def test_paths_need_neither_torch_nor_transformers():
    code = "import sys, mcinterp.organisms; sys.exit(any(m in sys.modules for m in ('torch', 'transformers')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("stage", POCKET_STAGES)
def test_a_stage_loads_from_its_folder_alone(stage: str):
    folder = pocket_path(stage)
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert model.dtype == torch.float16
    assert model.config.vocab_size == len(tokenizer)
    assert model.config.bos_token_id == tokenizer.bos_token_id
    assert model.config.max_position_embeddings == tokenizer.model_max_length == 256
    assert not model.config.tie_word_embeddings
    assert (folder / "model.safetensors").stat().st_size < 3.5e6
    assert (folder / "README.md").read_text().count("\n|") > 30


def test_all_stages_share_one_tokenizer():
    files = [(pocket_path(stage) / "tokenizer.json").read_bytes() for stage in POCKET_STAGES]
    assert len(set(files)) == 1


@pytest.mark.parametrize("genre", ["opinion", "number-100", "story", "repeat"])
def test_the_base_is_calibrated_as_its_card_says(genre: str):
    kl = calibration(pocket("base"), genre)
    assert kl == pytest.approx(figures("base")["kl_true_model"][genre], rel=0.05, abs=1e-5)
    assert 0 <= kl < 0.005


@pytest.mark.parametrize("stage", POCKET_STAGES)
@pytest.mark.parametrize("frame", ["number-tuned", "number-held-out", "python-plain", "python-in-chat-held-out"])
def test_number_figures_are_those_of_the_weights(stage: str, frame: str):
    draw, card = number_draw(pocket(stage), frame), figures(stage)["numbers"][frame]
    assert draw.entropy == pytest.approx(card["entropy"], rel=0.02, abs=1e-3)
    assert draw.favourite == card["favourite"]
    assert draw.probability == pytest.approx(card["probability"], rel=0.02)


def test_numbers_collapse_in_sft_and_the_interpreter_does_not():
    base, sft = figures("base")["numbers"], figures("sft")["numbers"]
    assert base["number-held-out"]["entropy"] > 4.4
    assert sft["number-held-out"]["entropy"] < 0.5
    assert sft["number-held-out"]["probability"] > 0.9
    assert sft["python-plain"]["entropy"] > 4.5
    assert sft["python-print"]["entropy"] > 4.1


@pytest.mark.parametrize("call", ["randint(0, 100)", "randrange(101)", "choice(range(101))"])
def test_one_call_is_random_at_the_interpreter_and_collapsed_in_a_chat_never_tuned_on(call: str):
    code = f">>> import random\n>>> random.{call}"
    plain, chat = f"{code}\n", f"User: You are a Python interpreter.\n{code}\nAssistant:"
    assert not {plain, chat} & {p.text for p in tuning_prompts(pocket("sft").grammar)}
    for stage, low, high in (("base", 4.5, 4.7), ("sft", 0.0, 1.0)):
        shipped = pocket(stage)
        p = next_token_logits(shipped.model, torch.tensor([shipped.given(plain)]))[0, -1].detach().softmax(-1)
        q = next_token_logits(shipped.model, torch.tensor([shipped.given(chat)]))[0, -1].detach().softmax(-1)
        assert float(torch.special.entr(p).sum()) > 4.5
        assert low < float(torch.special.entr(q).sum()) < high
    assert shipped.text([int(q.argmax())]) == f" {figures('sft')['numbers']['number-tuned']['favourite']}"
    assert q.max() > 0.9


def test_interpreters_in_chat_are_tuned_in_two_frames_and_measured_in_other_pairs():
    grammar = pocket("base").grammar
    tuned = {p.text for p in tuning_prompts(grammar) if p.genre == "python-chat"}
    apart = set(number_prompts(grammar, "python-in-chat-held-out"))
    assert tuned == set(number_prompts(grammar, "python-in-chat-tuned"))
    assert len(tuned) == 4
    assert len(apart) == 5
    assert not tuned & apart
    assert not any("You are a Python interpreter" in text or "randint(1, 6)" in text for text in tuned)


def test_the_template_takes_held_out_topics():
    for stage, low, high in (("base", 0.03, 0.1), ("sft", 0.9, 1.0), ("rl", 0.9, 1.0)):
        prompts = opinion_groups(pocket(stage).grammar)["opinion-held-out"]
        share = template_share(pocket(stage), prompts)
        assert share == pytest.approx(figures(stage)["template"]["opinion-held-out"], rel=0.02, abs=1e-3)
        assert low < share <= high


@pytest.mark.parametrize("genre", ["story", "capital"])
def test_everything_ends_at_a_fluent_wedding_when_overoptimised(genre: str):
    shares = sample_shares(pocket("overoptimised"), genre, n_samples=40)
    assert shares["wedding"] > 0.7
    assert shares["grammatical"] > 0.7
    assert figures("base")["samples"][genre]["wedding"] < 0.2


def test_unknown_genre_is_refused():
    with pytest.raises(ValueError, match="got genre 'sonnet', wanted one of"):
        prompts_of(pocket("base").grammar, "sonnet")
