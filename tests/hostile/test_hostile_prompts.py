"""Files of prompts that are wrong, strange or huge: a prompt as it is written, or one sentence with the line."""

import json
import time
from pathlib import Path

import pytest
from hostile_files import edit_json, loaded, refusal
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from conftest import CHARACTERS, VOCABULARY, Build, save_checkpoint, tokenizer
from mcinterp.alignment import AlignmentError
from mcinterp.chain import Chain
from mcinterp.errors import InputError, first_line, quoted
from mcinterp.organisms import pocket_path
from mcinterp.prompts import Prompt, Prompts

SCRIPTS = [
    "Καλημέρα κόσμε", "Привет, мир", "こんにちは世界", "你好，世界", "안녕하세요", "नमस्ते दुनिया", "สวัสดี", "שלום עולם",
    "مرحبا بالعالم", "\u202eright to left\u202c", "👩‍👩‍👧‍👦 family",
    "e\u0301\u0323 marks", "Z̸̢̛͎a̷l̶g̷o̸", "\u200b", "\ufdfa", "𝔘𝔫𝔦",
    "\U000e0041 tags", "\x00nul", "\x1b[31mred", "tab\tbell\x07", "a\u2028b\u2029c", "\x85next",
]  # fmt: skip


def file_of(tmp_path: Path, content: bytes | str, name: str = "prompts.txt") -> Path:
    """A file of prompts."""
    file = tmp_path / name
    file.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    return file


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no prompt was given; at least one is wanted"),
        (b"\n \n\t\r\n", "no prompt was given"),
        (b"\xef\xbb\xbf", "no prompt was given"),
        (b"fine\n\xc3\x28\n", "line 2 is not UTF-8: invalid continuation byte"),
        ("hello\nthere".encode("utf-16"), "it is not UTF-8 but looks like UTF-16"),
        ("hello\nthere".encode("utf-16-le"), "it is not UTF-8 but looks like UTF-16"),
        (b"\x80\x81\x82" * 1000, "line 1 is not UTF-8"),
    ],
)
@pytest.mark.parametrize("name", ["p.txt", "p.jsonl"])
def test_files_without_prompts(tmp_path: Path, content: bytes, message: str, name: str) -> None:
    if name == "p.jsonl":
        content = content.replace(b"fine", b'{"text": "fine"}')
    assert message in refusal(lambda: Prompts.from_file(file_of(tmp_path, content, name)))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("gone.txt", "No such file or directory"),
        (".", "Is a directory"),
        ("nul\0byte", "embedded null byte"),
        ("x" * 5000, "File name too long"),
        ("~nobody-of-this-name/x", "Could not determine home directory"),
        ("new\nline", "prompt file 'new\\nline' cannot be read"),
        ("", "Is a directory"),
        ("battery:../../etc", "battery '../../etc' does not ship with the library; give one of"),
        ("battery:", "battery '' does not ship with the library"),
    ],
)
def test_names_of_files_that_are_none(path: str, message: str) -> None:
    assert message in refusal(lambda: Prompts.named(path))


def test_a_loop_of_links_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "loop.txt").symlink_to(tmp_path / "loop.txt")
    assert "symbolic links" in refusal(lambda: Prompts.from_file(tmp_path / "loop.txt"))


def test_a_mark_and_windows_line_ends_are_no_part_of_prompts(tmp_path: Path) -> None:
    text = file_of(tmp_path, b"\xef\xbb\xbfone\r\ntwo\r\n")
    assert [p.text for p in Prompts.from_file(text).items] == ["one", "two"]
    lines = file_of(tmp_path, b'\xef\xbb\xbf{"text": "one"}\r\n\r\n{"text": "two"}\r\n', "p.jsonl")
    assert [p.text for p in Prompts.from_file(lines).items] == ["one", "two"]


@pytest.mark.parametrize("text", SCRIPTS)
def test_prompts_in_any_script_are_taken_as_they_are(tmp_path: Path, text: str) -> None:
    own = AutoTokenizer.from_pretrained(pocket_path("base"))
    both = [
        Prompts.from_file(file_of(tmp_path, text)),
        Prompts.from_file(file_of(tmp_path, json.dumps({"text": text}), "p.jsonl")),
    ]
    for prompts in both:
        assert [p.text for p in prompts.items] == [text]
        assert list(prompts.render(own).token_ids[0]) == own(text).input_ids


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "\\ud800"}', "line 3: a lone surrogate"),
        ('{"messages": [{"role": "user", "content": "\\udfff"}]}', "line 3: a lone surrogate"),
        ('{"text": "a", "note": "\\ud800"}', "line 3: a lone surrogate"),
        ('{"text": "a", "text": "b"}', "line 3: not JSON (the key 'text' stands twice in an object)"),
        ('{"text": "a", "score": NaN}', "line 3: not JSON (NaN is no number in JSON)"),
        ('{"text": "a", "score": -Infinity}', "line 3: not JSON (-Infinity is no number in JSON)"),
        ('{"text": "a", "score": 1e999}', "line 3: not JSON (the number '1e999' is too large)"),
        ('{"text": "a", "score": ' + "9" * 5000 + "}", "line 3: not JSON (Exceeds the limit"),
        ('{"text": 5}', "line 3: `text` must be a non-empty string"),
        ('{"text": ""}', "line 3: `text` must be a non-empty string"),
        ('{"text": null}', "line 3: `text` must be a non-empty string"),
        ('{"messages": []}', "line 3: `messages` must be a list"),
        ('{"messages": [{"role": ["user"], "content": "x"}]}', "line 3: `messages` must be a list"),
        ('{"messages": [{"role": "robot", "content": "x"}]}', "line 3: `messages` must be a list"),
        ('{"messages": [{"role": "user", "content": ""}]}', "line 3: the `content` of every message is empty"),
        ('{"messages": [{"role": "user", "content": ["x"]}]}', "line 3: `messages` must be a list"),
        ("[" * 100_000, "line 3: not JSON (maximum recursion depth"),
        ('{"a":' * 100_000, "line 3: not JSON (maximum recursion depth"),
        ("{'text': 'a'}", "line 3: not JSON"),
        ('{"text": "a"} {"text": "b"}', "line 3: not JSON (Extra data"),
        ('{"text": "a\x01b"}', "line 3: not JSON (Invalid control character"),
        ("\x1b[31m", "line 3: not JSON"),
    ],
)
def test_lines_that_are_no_prompt(tmp_path: Path, line: str, message: str) -> None:
    good = '{"text": "good"}'
    file = file_of(tmp_path, f"{good}\n\n{line}\n{good}\n", "p.jsonl")
    assert message in refusal(lambda: Prompts.from_file(file))
    kept = Prompts.from_file(file, skip_bad=True)
    assert [p.text for p in kept.items] == ["good", "good"]
    assert len(kept.skipped) == 1
    assert message in kept.skipped[0]
    assert kept.select([1]).skipped == kept.skipped


def test_a_file_of_bad_lines_is_refused_even_where_bad_ones_are_left_out(tmp_path: Path) -> None:
    file = file_of(tmp_path, "{\n[]\n", "p.jsonl")
    message = refusal(lambda: Prompts.named(str(file), skip_bad=True))
    assert "no prompt was given (2 left out, the first because: " in message
    assert "line 1: not JSON" in message


def test_a_bad_line_of_bytes_is_left_out(tmp_path: Path) -> None:
    kept = Prompts.from_file(file_of(tmp_path, b"one\n\xff\xff\nthree\n"), skip_bad=True)
    assert [p.text for p in kept.items] == ["one", "three"]
    assert "line 2 is not UTF-8" in kept.skipped[0]


@pytest.mark.parametrize("text", ["", "\ud800", "fine \udc80"])
def test_python_strings_are_held_to_the_same(text: str) -> None:
    assert "prompt 1 " in refusal(lambda: Prompts.from_texts(["ok", text]))
    messages = ({"role": "user", "content": text or "\ud800"},)
    assert "lone surrogate" in refusal(lambda: Prompts((Prompt("ok", messages=messages),)))


def test_a_long_line_is_refused_in_a_short_sentence_and_soon(pair: Chain, tmp_path: Path) -> None:
    file = file_of(tmp_path, "hello world " * 100_000)
    began = time.perf_counter()
    message = refusal(lambda: pair.render(Prompts.from_file(file)))
    assert "has 1200000 tokens and the context holds 64; shorten it or leave it out" in message
    assert time.perf_counter() - began < 30


def test_reading_takes_time_in_proportion(tmp_path: Path) -> None:
    file = file_of(tmp_path, "".join(f'{{"text": "prompt {i}", "n": {i}}}\n' for i in range(20_000)), "p.jsonl")
    began = time.perf_counter()
    assert len(Prompts.from_file(file)) == 20_000
    assert time.perf_counter() - began < 10


def test_prompts_given_twice_are_two_rows_of_the_same_numbers(pair: Chain) -> None:
    rendered = pair.render(Prompts.from_texts(["ab", "cd", "ab"]))
    assert rendered.token_ids[0] == rendered.token_ids[2]
    assert rendered.templates == ("prompt 0", "prompt 1", "prompt 2")


def test_a_prompt_of_spaces_is_a_prompt(pair: Chain) -> None:
    assert pair.render(Prompts.from_texts(["   "])).token_ids == ((CHARACTERS.index(" "),) * 3,)


def test_a_prompt_without_tokens_is_refused() -> None:
    raw = Tokenizer(models.WordLevel({"a": 0, "?": 1}, unk_token="?"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    made = PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="?")
    prompts = Prompts.from_texts(["a", "  "])
    assert "prompt 1 ('  ') has no token in this vocabulary" in refusal(lambda: prompts.render(made))
    kept = prompts.usable([made, made], context=8, vocabulary=2)
    assert [p.text for p in kept.items] == ["a"]
    assert kept.skipped == ("python, prompt 1 ('  '): it has 0 tokens and 1 to 8 are wanted.",)


def test_a_vocabulary_without_an_unknown_token_is_one_sentence() -> None:
    raw = Tokenizer(models.WordLevel({"a": 0}, unk_token="[gone]"))
    made = PreTrainedTokenizerFast(tokenizer_object=raw)
    assert "'b' has no tokens in this vocabulary" in refusal(lambda: Prompts.from_texts(["b"]).render(made))


@pytest.mark.parametrize(
    "template",
    [
        "{{",
        "{{ raise_exception('no\nway') }}",
        "{{ 1 / 0 }}",
        "{{ messages[99].content }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{% for i in range(10**9) %}x{% endfor %}",
        "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}",
        "{{ undefined_thing() }}",
        "{% include 'etc/passwd' %}",
    ],
)
def test_chat_templates_that_fail_or_break_out(template: str) -> None:
    call = lambda: Prompts.from_texts(["hi"]).render(tokenizer(), "chat", template)  # noqa: E731
    assert "the chat template cannot render 'hi'" in refusal(call)


def test_named_chat_templates_render_by_the_default_one() -> None:
    named = tokenizer()
    named.chat_template = {"default": "<{{ messages[0]['content'] }}>", "other": "no"}
    assert Prompts.from_texts(["hi"]).render(named, "chat").texts == ("<hi>",)


def test_usable_prompts_are_kept_and_the_others_said(tiny: Build, tmp_path: Path) -> None:
    small = save_checkpoint(tmp_path / "small", "llama", seed=5, vocab_size=VOCABULARY - 4)
    pair = loaded(tiny("llama"), small)
    texts = ["fine", "a" * 65, CHARACTERS[-1], "also fine"]
    given = Prompts.from_texts(texts, template=["t", "t", "u", None])
    kept = given.usable(
        [stage.tokenizer for stage in pair.stages],
        context=pair.alignment.context,
        vocabulary=pair.alignment.vocabulary,
    )
    assert [p.text for p in kept.items] == ["fine", "also fine"]
    assert [p.template for p in kept.items] == ["t", None]
    assert "prompt 1 ('aaa" in kept.skipped[0]
    assert "it has 65 tokens and 1 to 64 are wanted" in kept.skipped[0]
    assert f"it has token {VOCABULARY - 1} and only the first {VOCABULARY - 4} are in every stage" in kept.skipped[1]
    assert pair.render(kept).texts == ("fine", "also fine")
    bad = given.select([1, 2])
    message = refusal(lambda: bad.usable([pair.base.tokenizer], context=64, vocabulary=pair.alignment.vocabulary))
    assert "no prompt was given (2 left out, the first because: " in message


def test_prompts_that_two_tokenizers_read_otherwise_are_left_out() -> None:
    swapped = [*CHARACTERS[:5], CHARACTERS[6], CHARACTERS[5], *CHARACTERS[7:]]
    both = [tokenizer(), tokenizer(swapped)]
    kept = Prompts.from_texts(["xyz", "d"]).usable(both, context=64, vocabulary=VOCABULARY)
    assert [p.text for p in kept.items] == ["xyz"]
    assert "its token ids differ between the stages" in kept.skipped[0]


def test_prompts_that_a_chat_template_refuses_are_left_out() -> None:
    template = "{% if 'b' in messages[0]['content'] %}{{ raise_exception('no b') }}{% endif %}x"
    kept = Prompts.from_texts(["a", "b"]).usable(
        [tokenizer(), tokenizer()], "both", template, context=64, vocabulary=VOCABULARY
    )
    assert [p.text for p in kept.items] == ["a"]
    assert "no b" in kept.skipped[0]
    with pytest.raises(InputError, match="rendering 'fancy' is unknown"):
        kept.usable([tokenizer()], "fancy", context=64, vocabulary=VOCABULARY)


@pytest.mark.parametrize("shift", [1, 40])
def test_a_shifted_vocabulary_is_refused_with_the_first_token(tiny: Build, tmp_path: Path, shift: int) -> None:
    other = save_checkpoint(tmp_path / "other", "llama", seed=5)
    letters = CHARACTERS[2:]
    tokenizer([*CHARACTERS[:2], *letters[shift:], *letters[:shift]]).save_pretrained(other)
    with pytest.raises(AlignmentError, match=r"differ in vocabulary \(llama-base: id 2 is 'a', other: id 2 is '"):
        loaded(tiny("llama"), other)


def test_vocabularies_with_one_token_in_common_are_refused(tiny: Build, tmp_path: Path) -> None:
    other = save_checkpoint(tmp_path / "other", "llama", seed=5)
    strange = [chr(0x4E00 + i) for i in range(len(CHARACTERS) - 3)]
    tokenizer([*CHARACTERS[:3], *strange]).save_pretrained(other)
    with pytest.raises(AlignmentError, match=r"id 3 is 'b', other: id 3 is '一'"):
        loaded(tiny("llama"), other)


def test_a_tokenizer_without_padding_or_special_tokens_works(tiny: Build, tmp_path: Path) -> None:
    other = save_checkpoint(tmp_path / "other", "llama", seed=0)
    edit_json(other / "tokenizer_config.json", pad_token=None, bos_token=None, eos_token=None)
    pair = loaded(tiny("llama"), other)
    assert pair.render(Prompts.from_texts(["one", "three"])).token_ids[0] == tuple(map(CHARACTERS.index, "one"))


@pytest.mark.parametrize("text", ["a\nb", "x" * 10_000, "\ud800", "\x00" * 100, "\u202e" * 70, "'\"\\", ""])
def test_quotations_are_short_and_can_be_shown(text: str) -> None:
    assert quoted(text).isprintable()
    assert len(quoted(text)) <= 62
    assert quoted("plain") == "'plain'"


def test_first_lines_are_short_and_can_be_shown() -> None:
    assert first_line(ValueError("\n  one\x1b[0m.\ntwo")) == "one\\x1b[0m"
    assert first_line(ValueError("because:\n  of this")) == "because: of this"
    assert first_line(ValueError("")) == "ValueError"
    assert len(first_line(ValueError("x" * 10_000))) == 160
