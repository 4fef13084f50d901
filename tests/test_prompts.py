"""Where prompts come from and which tokens they become."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from conftest import tokenizer
from mcinterp.chain import Chain
from mcinterp.errors import InputError
from mcinterp.jobs.behaving import EXPERIMENTS, POCKET
from mcinterp.organisms import pocket_path
from mcinterp.prompts import Prompts, battery_names, parse_json_line

ENDS = ("", POCKET)


def test_raw_rendering_is_exactly_the_tokenizers_ids() -> None:
    from transformers import AutoTokenizer

    own = AutoTokenizer.from_pretrained(pocket_path("base"))
    texts = ["Are bugs real?", ">be me\n", "  two spaces", "naïve 🙂"]
    rendered = Prompts.from_texts(texts).render(own)
    assert [list(ids) for ids in rendered.token_ids] == [own(text).input_ids for text in texts]
    assert all(list(ids).count(own.bos_token_id) == 1 for ids in rendered.token_ids)


def test_chat_rendering_has_one_bos_and_what_the_template_says() -> None:
    chat = tokenizer(chat=True)
    rendered = Prompts.from_texts(["hi"]).render(chat, "chat")
    assert rendered.texts == ("user: hi\nassistant:",)
    assert "".join(rendered.tokens[0]) == "user: hi\nassistant:"


def test_both_renderings_are_a_factor_over_the_same_prompts() -> None:
    rendered = Prompts.from_texts(["hi", "yo"], template=["g", None]).render(tokenizer(chat=True), "both")
    assert rendered.renderings == ("raw", "raw", "chat", "chat")
    assert rendered.prompt_index == (0, 1, 0, 1)
    assert rendered.templates == ("g", "prompt 1", "g", "prompt 1")


def test_the_tuned_stages_template_renders_for_a_base_without_one(pair: Chain) -> None:
    assert pair.base.tokenizer.chat_template is None
    assert pair.render(Prompts.from_texts(["hi"]), "chat").texts == ("user: hi\nassistant:",)


def test_a_chat_without_any_template_is_refused() -> None:
    with pytest.raises(InputError, match="no stage has a chat template and one was asked for; render raw"):
        Prompts.from_texts(["hi"]).render(tokenizer(), "chat")


def test_a_template_that_fails_is_refused() -> None:
    broken = "{{ raise_exception('no system role here') }}"
    with pytest.raises(InputError, match="chat template cannot render 'hi' .*no system role here"):
        Prompts.from_texts(["hi"]).render(tokenizer(), "chat", broken)


def test_text_files_hold_one_prompt_a_line(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("first\n\n>be me\\n\r\na \\\\n b\n", encoding="utf-8")
    assert [p.text for p in Prompts.from_file(file).items] == ["first", ">be me\n", "a \\n b"]


def test_json_lines_keep_messages_template_and_metadata(tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]
    lines = [{"text": "one", "template": "t", "topic": 3}, {"messages": messages}]
    file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    prompts = Prompts.from_file(file)
    assert prompts.items[0].metadata == {"topic": 3}
    assert prompts.templates == ("t", "prompt 1")
    assert prompts.items[1].text == "be brief\n\nhi"
    assert prompts.render(tokenizer(chat=True), "chat").texts[1] == "system: be brief\nuser: hi\nassistant:"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 7: not JSON"),
        ("[1]", "line 7: a JSON list was given; an object"),
        ("{}", "line 7: exactly one of `text` and `messages`"),
        ('{"text": "a", "messages": []}', "line 7: exactly one of"),
        ('{"text": ""}', "line 7: `text` must be a non-empty string"),
        ('{"text": 5}', "line 7: `text` must be a non-empty string"),
        ('{"messages": "hi"}', "line 7: `messages` must be a list"),
        ('{"messages": [{"role": "bot", "content": "x"}]}', "line 7: `messages` must be a list"),
        ('{"text": "a", "template": 4}', "line 7: `template` is a int"),
    ],
)
def test_bad_lines_are_refused_with_their_number(line: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_json_line("file", 7, line)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_any_line_is_a_prompt_or_one_sentence(line: str) -> None:
    said = ""
    try:
        said = parse_json_line("file", 1, line).text
    except InputError as error:
        said = str(error)
    assert said
    assert said.startswith("file, line 1: ") or said in line


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Prompts.from_texts([]), "no prompt was given"),
        (lambda: Prompts.from_texts(["ok", ""]), "prompt 1 is empty"),
        (lambda: Prompts.from_texts("one string"), "one string was given .*; give a list of strings"),
        (lambda: Prompts.from_texts(["a", 3]), "a prompt of type int was given"),
        (lambda: Prompts.from_texts(["a"], template=["x", "y"]), "got 2 template names for 1 texts"),
        (lambda: Prompts.from_file("/no/such/file"), "prompt file '/no/such/file' cannot be read"),
        (lambda: Prompts.battery("nothing"), "battery 'nothing' does not ship with the library; give one of"),
        (lambda: Prompts.from_texts(["a"]).render(tokenizer(), "fancy"), "rendering 'fancy' is unknown"),
    ],
)
def test_bad_prompts_are_refused(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()


def test_binary_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read .*; give a UTF-8 file"):
        Prompts.from_file(tmp_path / "binary.txt")


def test_prompts_beyond_the_context_are_refused(pair: Chain) -> None:
    with pytest.raises(InputError, match="prompt 1 .* has 65 tokens and the context holds 64"):
        pair.render(Prompts.from_texts(["ok", "a" * 65]))


def test_tokens_keep_the_spaces_that_a_lone_decode_loses() -> None:
    table = {"<unk>": 0, "▁": 1, "▁Once": 2, "▁upon": 3, "x": 4}
    raw = Tokenizer(models.WordLevel(table, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Metaspace()
    raw.decoder = decoders.Metaspace()
    made = PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="<unk>")
    rendered = Prompts.from_texts(["Once upon"]).render(made)
    assert rendered.tokens == ((" Once", " upon"),)
    assert rendered.fits(0, 2)


@pytest.mark.parametrize("name", battery_names())
def test_batteries_have_distinct_prompts_in_several_templates(name: str) -> None:
    battery = Prompts.battery(name)
    assert len({p.text for p in battery.items}) == len(battery)
    assert len(set(battery.templates)) >= 10
    assert all(p.template for p in battery.items)


@pytest.mark.parametrize("name", sorted({"pocket"} | {e.battery + end for e in EXPERIMENTS.values() for end in ENDS}))
def test_batteries_of_experiments_have_a_hundred_prompts_and_hold_some_out(name: str) -> None:
    battery = Prompts.battery(name)
    assert len(battery) >= 100
    assert 0 < sum(bool(p.metadata["held_out"]) for p in battery.items) < len(battery)
