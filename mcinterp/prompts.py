"""Prompts: where they come from.

A prompt is raw text or chat messages, with free metadata and a template group: prompts of one template are
near-copies, so whole templates are resampled for intervals. What tokens they become is in `mcinterp.rendering`.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from mcinterp.errors import InputError, first_line
from mcinterp.rendering import RENDERINGS, RenderedPrompts, encode, message_frames, rendered_text, token_strings

RESERVED = {"text", "messages", "template"}
ROLES = {"system", "user", "assistant", "tool"}


@dataclass(frozen=True)
class Prompt:
    """One prompt: text, or the messages of a conversation, its template group, and free metadata."""

    text: str
    messages: tuple[Mapping[str, str], ...] = ()
    template: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def conversation(self) -> list[Mapping[str, str]]:
        """The messages; a plain text is what a user says."""
        return list(self.messages) or [{"role": "user", "content": self.text}]


@dataclass(frozen=True)
class Prompts:
    """A sequence of prompts and where they came from."""

    items: tuple[Prompt, ...]
    source: str = "python"

    def __post_init__(self) -> None:
        if not self.items:
            raise InputError(f"{self.source}: no prompt was given; at least one is wanted.")
        for index, prompt in enumerate(self.items):
            if not prompt.text:
                raise InputError(f"{self.source}: prompt {index} is empty; give text or leave it out.")

    def __len__(self) -> int:
        return len(self.items)

    @property
    def templates(self) -> tuple[str, ...]:
        """The template group of each prompt; a prompt without one is its own group."""
        return tuple(p.template or f"prompt {i}" for i, p in enumerate(self.items))

    @classmethod
    def from_texts(cls, texts: Iterable[Any], *, template: Sequence[str | None] | None = None) -> "Prompts":
        """Prompts from Python strings; `template` names the group of each.

        Raises `InputError` for an empty list, an empty string, or anything that is not a string.
        """
        if isinstance(texts, str):
            raise InputError(f"one string was given ({texts[:40]!r}); give a list of strings.")
        listed = list(texts)
        groups = list(template) if template is not None else [None] * len(listed)
        if len(groups) != len(listed):
            raise InputError(f"got {len(groups)} template names for {len(listed)} texts; give one each.")
        wrong = next((text for text in listed if not isinstance(text, str)), None)
        if wrong is not None:
            raise InputError(f"a prompt of type {type(wrong).__name__} was given; a string is wanted.")
        return cls(tuple(Prompt(text, template=group) for text, group in zip(listed, groups, strict=True)))

    @classmethod
    def from_file(cls, path: str | Path) -> "Prompts":
        """Prompts from a file: JSON Lines where its name ends in .jsonl, else one prompt a line (blank lines apart).

        In a text file `\\n` stands for a line break inside a prompt and `\\\\` for a backslash.
        """
        file = Path(path).expanduser()
        try:
            lines = file.read_text(encoding="utf-8").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"prompt file {str(path)!r} cannot be read ({first_line(error)}); give a UTF-8 file."
            ) from error
        numbered = [(number, line.rstrip("\r")) for number, line in enumerate(lines, 1) if line.strip()]
        read = parse_json_line if file.suffix == ".jsonl" else parse_text_line
        return cls(tuple(read(str(path), number, line) for number, line in numbered), source=str(path))

    @classmethod
    def battery(cls, name: str) -> "Prompts":
        """A battery that ships with the library.

        Raises `InputError` for an unknown name, listing the known ones.
        """
        if name not in battery_names():
            raise InputError(
                f"battery {name!r} does not ship with the library; give one of {', '.join(battery_names())}."
            )
        text = batteries().joinpath(f"{name}.jsonl").read_text(encoding="utf-8")
        numbered = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
        source = f"battery:{name}"
        return cls(tuple(parse_json_line(source, number, line) for number, line in numbered), source=source)

    @classmethod
    def named(cls, spec: str) -> "Prompts":
        """Prompts as the command line names them: `battery:NAME` or a file."""
        return cls.battery(spec.removeprefix("battery:")) if spec.startswith("battery:") else cls.from_file(spec)

    def select(self, indices: Iterable[int]) -> "Prompts":
        """The prompts at the given indices, in that order."""
        return Prompts(tuple(self.items[i] for i in indices), source=self.source)

    def render(self, tokenizer: Any, rendering: str = "raw", chat_template: str | None = None) -> "RenderedPrompts":
        """The exact tokens of every prompt under one tokenizer, raw, by chat template, or both.

        `chat_template` is the template to render with where it is not the tokenizer's own (a base model has none).
        """
        if rendering not in RENDERINGS:
            raise InputError(f"rendering {rendering!r} is unknown; give one of {', '.join(RENDERINGS)}.")
        kinds = RENDERINGS[rendering]
        pairs = [(index, kind) for kind in kinds for index in range(len(self))]
        texts = tuple(
            rendered_text(self.items[i].text, self.items[i].conversation, kind, tokenizer, chat_template)
            for i, kind in pairs
        )
        ids = tuple(tuple(encode(tokenizer, text, kind)) for text, (_, kind) in zip(texts, pairs, strict=True))
        empty = next((i for i, each in enumerate(ids) if not each), None)
        if empty is not None:
            raise InputError(f"prompt {empty} ({texts[empty][:40]!r}) has no token in this vocabulary; leave it out.")
        return RenderedPrompts(
            texts=texts,
            token_ids=ids,
            tokens=tuple(tuple(token_strings(tokenizer, each)) for each in ids),
            prompt_index=tuple(i for i, _ in pairs),
            renderings=tuple(kind for _, kind in pairs),
            templates=tuple(self.templates[i] for i, _ in pairs),
            frames=tuple(message_frames(self.items[i].conversation, k, tokenizer, chat_template) for i, k in pairs),
        )


def batteries() -> Any:
    """The directory of the shipped batteries."""
    return resources.files("mcinterp").joinpath("batteries")


def battery_names() -> list[str]:
    """Names of the shipped batteries."""
    return sorted(entry.name.removesuffix(".jsonl") for entry in batteries().iterdir() if entry.name.endswith(".jsonl"))


def parse_text_line(source: str, number: int, line: str) -> Prompt:
    """One line of a text file: a prompt, with escaped line breaks."""
    pieces = [piece.replace("\\n", "\n") for piece in line.split("\\\\")]
    return Prompt("\\".join(pieces), metadata={"line": number})


def parse_json_line(source: str, number: int, line: str) -> Prompt:
    """One line of JSON Lines: an object with `text` or `messages`, maybe `template`, and free metadata."""

    def refuse(problem: str) -> InputError:
        return InputError(f"{source}, line {number}: {problem}.")

    try:
        entry = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise refuse(f"not JSON ({first_line(error)}); give one object a line") from error
    if not isinstance(entry, dict):
        raise refuse(f"a JSON {type(entry).__name__} was given; an object with `text` or `messages` is wanted")
    if ("text" in entry) == ("messages" in entry):
        raise refuse("exactly one of `text` and `messages` is wanted")
    template = entry.get("template")
    if template is not None and not isinstance(template, str):
        raise refuse(f"`template` is a {type(template).__name__}; a string is wanted")
    metadata = {key: value for key, value in entry.items() if key not in RESERVED}
    if "text" in entry:
        if not isinstance(entry["text"], str) or not entry["text"]:
            raise refuse("`text` must be a non-empty string")
        return Prompt(entry["text"], template=template, metadata=metadata)
    messages = entry["messages"]
    if not isinstance(messages, list) or not messages or not all(map(is_message, messages)):
        raise refuse("`messages` must be a list of objects with `role` (system, user, assistant, tool) and `content`")
    text = "\n\n".join(message["content"] for message in messages)
    return Prompt(text, messages=tuple(messages), template=template, metadata=metadata)


def is_message(value: Any) -> bool:
    """Whether a value is a chat message with a known role and text."""
    return isinstance(value, dict) and value.get("role") in ROLES and isinstance(value.get("content"), str)
