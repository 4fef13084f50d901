"""Prompts written in files: lines of text, or lines of JSON; what is wrong with a line is said with its number."""

import json
from collections.abc import Iterator
from math import isfinite
from pathlib import Path
from typing import Any, NoReturn

from mcinterp.errors import InputError, first_line, quoted
from mcinterp.prompts.prompt import Prompt, is_unicode

RESERVED = {"text", "messages", "template"}
ROLES = {"system", "user", "assistant", "tool"}
PATH = 100


def read_lines(path: str | Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a file that are not blank, with their numbers; a byte-order mark of UTF-8 is taken away.

    Raises `InputError` for a file that cannot be read, or is UTF-16.
    """

    def refuse(problem: str) -> InputError:
        return InputError(f"prompt file {quoted(path, PATH)} cannot be read ({problem}); give a UTF-8 file.")

    try:
        data = Path(path).expanduser().read_bytes()
    except (OSError, ValueError, RuntimeError) as error:
        raise refuse(unreadable(error)) from error
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or data.count(0) * 3 > len(data):
        raise refuse("it is not UTF-8 but looks like UTF-16")
    data = data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    yield from ((number, line) for number, line in enumerate(data.split(b"\n"), 1) if line.strip())


def unreadable(error: Exception) -> str:
    """Why a file cannot be read, without its name."""
    return error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)


def parse_line(source: str, number: int, line: bytes, as_json: bool) -> Prompt | None:
    """The prompt on one line of a file; nothing where it is blank."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"prompt file {quoted(source, PATH)} cannot be read (line {number} is not UTF-8: {error.reason}); "
            f"give a UTF-8 file."
        ) from error
    if not text.strip():
        return None
    return parse_json_line(source, number, text) if as_json else parse_text_line(source, number, text)


def parse_text_line(source: str, number: int, line: str) -> Prompt:
    """One line of a text file: a prompt, with escaped line breaks."""
    pieces = [piece.replace("\\n", "\n") for piece in line.split("\\\\")]
    return Prompt("\\".join(pieces), metadata={"line": number})


def parse_json_line(source: str, number: int, line: str) -> Prompt:
    """One line of JSON Lines: an object with `text` or `messages`, maybe `template`, and free metadata."""
    try:
        return json_prompt(line)
    except ValueError as error:
        raise InputError(f"{quoted(source, PATH)[1:-1]}, line {number}: {error}.") from error


def json_prompt(line: str) -> Prompt:
    """The prompt that a line of JSON stands for; `ValueError` with what is wrong where it is none."""
    entry = json_object(line)
    template = entry.get("template")
    if template is not None and not isinstance(template, str):
        raise ValueError(f"`template` is a {type(template).__name__}; a string is wanted")
    metadata = {key: value for key, value in entry.items() if key not in RESERVED}
    if "text" in entry:
        if not isinstance(entry["text"], str) or not entry["text"]:
            raise ValueError("`text` must be a non-empty string")
        return Prompt(entry["text"], template=template, metadata=metadata)
    messages = entry["messages"]
    if not isinstance(messages, list) or not messages or not all(map(is_message, messages)):
        raise ValueError(
            "`messages` must be a list of objects with `role` (system, user, assistant, tool) and `content`"
        )
    if not any(message["content"] for message in messages):
        raise ValueError("the `content` of every message is empty; give text")
    text = "\n\n".join(message["content"] for message in messages)
    return Prompt(text, messages=tuple(messages), template=template, metadata=metadata)


def json_object(line: str) -> dict[str, Any]:
    """A JSON object with either `text` or `messages`, distinct keys, finite numbers and no lone surrogate."""
    try:
        entry = json.loads(line, object_pairs_hook=object_of, parse_constant=no_number, parse_float=finite)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON ({first_line(error)}); give one object a line") from error
    if not isinstance(entry, dict):
        raise ValueError(f"a JSON {type(entry).__name__} was given; an object with `text` or `messages` is wanted")
    if ("text" in entry) == ("messages" in entry):
        raise ValueError("exactly one of `text` and `messages` is wanted")
    if "\\u" in line and not is_unicode(json.dumps(entry, ensure_ascii=False)):
        raise ValueError("a lone surrogate such as \\ud800 stands for no character; write the character itself")
    return entry


def object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose keys are distinct."""
    entry = dict(pairs)
    if len(entry) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {quoted(twice)} stands twice in an object")
    return entry


def no_number(name: str) -> NoReturn:
    """Refuse NaN and Infinity, which Python's reader takes and JSON does not know."""
    raise ValueError(f"{name} is no number in JSON")


def finite(text: str) -> float:
    """A number with a fraction or an exponent, unless it is beyond what a float holds."""
    value = float(text)
    if not isfinite(value):
        raise ValueError(f"the number {quoted(text)} is too large")
    return value


def is_message(value: Any) -> bool:
    """Whether a value is a chat message with a known role and text."""
    return (
        isinstance(value, dict)
        and isinstance(value.get("role"), str)
        and value["role"] in ROLES
        and isinstance(value.get("content"), str)
    )
