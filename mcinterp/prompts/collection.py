"""Prompts as a sequence: read from a file, a battery or Python, and rendered to tokens."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcinterp.errors import InputError, quoted
from mcinterp.prompts.batteries import batteries, battery_names
from mcinterp.prompts.lines import PATH, parse_json_line, parse_line, read_lines
from mcinterp.prompts.prompt import Prompt
from mcinterp.rendering import RENDERINGS, RenderedPrompts, encode, message_frames, rendered_text, token_strings


@dataclass(frozen=True)
class Prompts:
    """A sequence of prompts, where they came from, and what was left out of them (a sentence each)."""

    items: tuple[Prompt, ...]
    source: str = "python"
    skipped: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.items:
            why = f" ({len(self.skipped)} left out, the first because: {self.skipped[0][:200]})" if self.skipped else ""
            raise InputError(f"{self.place}: no prompt was given{why}; at least one is wanted.")
        for index, prompt in enumerate(self.items):
            if prompt.fault:
                raise InputError(f"{self.place}: prompt {index} {prompt.fault}.")

    def __len__(self) -> int:
        return len(self.items)

    @property
    def place(self) -> str:
        """The source as a message names it."""
        return quoted(self.source, PATH)[1:-1]

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
            raise InputError(f"one string was given ({quoted(texts)}); give a list of strings.")
        listed = list(texts)
        groups = list(template) if template is not None else [None] * len(listed)
        if len(groups) != len(listed):
            raise InputError(f"got {len(groups)} template names for {len(listed)} texts; give one each.")
        wrong = next((text for text in listed if not isinstance(text, str)), None)
        if wrong is not None:
            raise InputError(f"a prompt of type {type(wrong).__name__} was given; a string is wanted.")
        return cls(tuple(Prompt(text, template=group) for text, group in zip(listed, groups, strict=True)))

    @classmethod
    def from_file(cls, path: str | Path, *, skip_bad: bool = False) -> "Prompts":
        """Prompts from a file: JSON Lines where its name ends in .jsonl, else one prompt a line (blank lines apart).

        In a text file `\\n` stands for a line break inside a prompt and `\\\\` for a backslash. With `skip_bad` a line
        that holds no prompt is left out and said in `skipped`; a file without any prompt is refused all the same.
        """
        items, skipped, as_json = [], [], Path(path).suffix == ".jsonl"
        for number, line in read_lines(path):
            try:
                items.append(parse_line(str(path), number, line, as_json))
            except InputError as error:
                if not skip_bad:
                    raise
                skipped.append(str(error))
        return cls(tuple(item for item in items if item is not None), source=str(path), skipped=tuple(skipped))

    @classmethod
    def battery(cls, name: str) -> "Prompts":
        """A battery that ships with the library.

        Raises `InputError` for an unknown name, listing the known ones.
        """
        if name not in battery_names():
            known = ", ".join(each for each in battery_names() if not each.endswith("-pocket"))
            raise InputError(
                f"battery {quoted(name)} does not ship with the library; give one of {known}, or most of them with "
                f"-pocket behind for the pocket checkpoints."
            )
        text = batteries().joinpath(f"{name}.jsonl").read_text(encoding="utf-8")
        numbered = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
        source = f"battery:{name}"
        return cls(tuple(parse_json_line(source, number, line) for number, line in numbered), source=source)

    @classmethod
    def named(cls, spec: str, *, skip_bad: bool = False) -> "Prompts":
        """Prompts as the command line names them: `battery:NAME` or a file; see `from_file`."""
        if spec.startswith("battery:"):
            return cls.battery(spec.removeprefix("battery:"))
        return cls.from_file(spec, skip_bad=skip_bad)

    def select(self, indices: Iterable[int]) -> "Prompts":
        """The prompts at the given indices, in that order."""
        return Prompts(tuple(self.items[i] for i in indices), source=self.source, skipped=self.skipped)

    def usable(
        self,
        tokenizers: Sequence[Any],
        rendering: str = "raw",
        chat_template: str | None = None,
        *,
        context: int,
        vocabulary: int,
    ) -> "Prompts":
        """The prompts that checkpoints can be compared on; the others are left out and said in `skipped`.

        A prompt is usable where it renders under every tokenizer to the same ids, at least one and at most `context`,
        all below `vocabulary`. A template group keeps its name; a prompt that was its own group stays one.

        Raises `InputError` where no prompt is usable.
        """
        kept, skipped = [], list(self.skipped)
        for index, prompt in enumerate(self.items):
            reason = unusable(prompt, tokenizers, rendering, chat_template, context, vocabulary)
            if reason is None:
                kept.append(prompt)
            else:
                skipped.append(f"{self.place}, prompt {index} ({quoted(prompt.text)}): {reason}")
        return Prompts(tuple(kept), source=self.source, skipped=tuple(skipped))

    def render(self, tokenizer: Any, rendering: str = "raw", chat_template: str | None = None) -> "RenderedPrompts":
        """The exact tokens of every prompt under one tokenizer, raw, by chat template, or both.

        `chat_template` is the template to render with where it is not the tokenizer's own (a base model has none).
        """
        kinds = kinds_of(rendering)
        pairs = [(index, kind) for kind in kinds for index in range(len(self))]
        texts = tuple(
            rendered_text(self.items[i].text, self.items[i].conversation, kind, tokenizer, chat_template)
            for i, kind in pairs
        )
        ids = tuple(tuple(encode(tokenizer, text, kind)) for text, (_, kind) in zip(texts, pairs, strict=True))
        empty = next((i for i, each in enumerate(ids) if not each), None)
        if empty is not None:
            raise InputError(
                f"prompt {pairs[empty][0]} ({quoted(texts[empty])}) has no token in this vocabulary; leave it out."
            )
        return RenderedPrompts(
            texts=texts,
            token_ids=ids,
            tokens=tuple(tuple(token_strings(tokenizer, each)) for each in ids),
            prompt_index=tuple(i for i, _ in pairs),
            renderings=tuple(kind for _, kind in pairs),
            templates=tuple(self.templates[i] for i, _ in pairs),
            frames=tuple(message_frames(self.items[i].conversation, k, tokenizer, chat_template) for i, k in pairs),
        )


def kinds_of(rendering: str) -> tuple[str, ...]:
    """The renderings that one name stands for."""
    if rendering not in RENDERINGS:
        raise InputError(f"rendering {quoted(rendering)} is unknown; give one of {', '.join(RENDERINGS)}.")
    return RENDERINGS[rendering]


def unusable(
    prompt: Prompt, tokenizers: Sequence[Any], rendering: str, template: str | None, context: int, vocabulary: int
) -> str | None:
    """Why checkpoints cannot be compared on a prompt; nothing where they can."""
    for kind in kinds_of(rendering):
        try:
            texts = [rendered_text(prompt.text, prompt.conversation, kind, each, template) for each in tokenizers]
            message_frames(prompt.conversation, kind, tokenizers[0], template)
            ids = [encode(each, text, kind) for each, text in zip(tokenizers, texts, strict=True)]
        except InputError as error:
            return str(error)
        if any(each != ids[0] for each in ids):
            return "its token ids differ between the stages."
        if not 0 < len(ids[0]) <= context:
            return f"it has {len(ids[0])} tokens and 1 to {context} are wanted."
        if max(ids[0]) >= vocabulary:
            return f"it has token {max(ids[0])} and only the first {vocabulary} are in every stage."
    return None
