"""The tokenizer: one token per number, nothing lost, one beginning-of-text token."""

import random

import pytest
from shipped import pocket
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from mcinterp.organisms import pocket_path
from mcinterp.organisms.tokenizer import END_OF_TEXT, train_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return AutoTokenizer.from_pretrained(pocket_path("base"))


def test_training_again_gives_the_shipped_vocabulary(tokenizer: PreTrainedTokenizerFast):
    assert train_tokenizer().get_vocab() == tokenizer.get_vocab()


@pytest.mark.parametrize("lead", ["", " "])
def test_every_number_is_one_token(tokenizer: PreTrainedTokenizerFast, lead: str):
    ids = [tokenizer(f"{lead}{n}", add_special_tokens=False).input_ids for n in range(101)]
    assert all(len(i) == 1 for i in ids)
    assert len({i[0] for i in ids}) == 101


def test_pieces_encode_one_by_one_and_decode_again(tokenizer: PreTrainedTokenizerFast):
    grammar, rng = pocket("base").grammar, random.Random(0)
    for _ in range(400):
        ids = grammar.sample(rng)
        text = tokenizer.decode(ids[:-1])
        assert tokenizer(text, add_special_tokens=False).input_ids == ids[:-1]


def test_beginning_of_text_stands_once_in_front(tokenizer: PreTrainedTokenizerFast):
    ids = tokenizer("Are bugs real?").input_ids
    assert ids[0] == tokenizer.bos_token_id == tokenizer.eos_token_id
    assert ids.count(tokenizer.bos_token_id) == 1
    assert tokenizer.pad_token_id not in (None, tokenizer.eos_token_id)


def test_chat_template_renders_the_dialogue_of_the_grammar(tokenizer: PreTrainedTokenizerFast):
    chat = [{"role": "user", "content": "Are bugs real?"}]
    text = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    assert text == END_OF_TEXT + "User: Are bugs real?\nAssistant:"
    ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=True).input_ids
    assert ids == tokenizer("User: Are bugs real?\nAssistant:").input_ids
