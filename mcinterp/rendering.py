"""The exact tokens that prompts become under a tokenizer, raw or by a chat template."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Literal

from mcinterp.errors import InputError, first_line, quoted

Rendering = Literal["raw", "chat"]
MARK = "mcinterp-message"
RENDERINGS: dict[str, tuple[Rendering, ...]] = {"raw": ("raw",), "chat": ("chat",), "both": ("raw", "chat")}


@dataclass(frozen=True)
class RenderedPrompts:
    """Prompts as tokens: one entry a prompt and rendering.

    `frames` holds what a chat template wrote before, between and after the messages; nothing for a raw prompt.
    """

    texts: tuple[str, ...]
    token_ids: tuple[tuple[int, ...], ...]
    tokens: tuple[tuple[str, ...], ...]
    prompt_index: tuple[int, ...]
    renderings: tuple[str, ...]
    templates: tuple[str, ...]
    frames: tuple[tuple[str, ...], ...]

    def __len__(self) -> int:
        return len(self.token_ids)

    @cached_property
    def longest(self) -> int:
        """Tokens of the longest prompt."""
        return max(len(ids) for ids in self.token_ids)

    def select(self, indices: Iterable[int]) -> "RenderedPrompts":
        """The entries at the given indices, in that order."""
        chosen = list(indices)
        return RenderedPrompts(*(tuple(getattr(self, f.name)[i] for i in chosen) for f in fields(self)))

    def fits(self, index: int, room: int) -> bool:
        """Whether a prompt has at most `room` tokens and they give its text back (the vocabulary knows all of it)."""
        return len(self.token_ids[index]) <= room and self.texts[index].strip() in "".join(self.tokens[index])

    def within(self, context: int) -> "RenderedPrompts":
        """Itself, or an `InputError` about the first prompt that leaves no token of the context free."""
        for index, ids in enumerate(self.token_ids):
            if len(ids) > context:
                raise InputError(
                    f"prompt {self.prompt_index[index]} ({quoted(self.texts[index])}) has {len(ids)} tokens and the "
                    f"context holds {context}; shorten it or leave it out."
                )
        return self


def rendered_text(
    text: str, conversation: Sequence[Mapping[str, str]], rendering: str, tokenizer: Any, chat_template: str | None
) -> str:
    """The prompt as text: as it is, or through the chat template with the answer's beginning asked for."""
    if rendering == "raw":
        return text
    template = chat_template or tokenizer.chat_template
    if isinstance(template, Mapping):
        template = template.get("default")
    if not template:
        raise InputError(
            "no stage has a chat template and one was asked for; render raw, or save a template with the tokenizer."
        )
    try:
        rendered = tokenizer.apply_chat_template(
            list(conversation), chat_template=template, tokenize=False, add_generation_prompt=True
        )
    except Exception as error:  # a template is a program of the checkpoint's: it raises whatever it likes
        raise InputError(
            f"the chat template cannot render {quoted(text)} ({first_line(error)}); render raw or change the messages."
        ) from error
    return str(rendered)


def message_frames(
    conversation: Sequence[Mapping[str, str]], rendering: str, tokenizer: Any, chat_template: str | None
) -> tuple[str, ...]:
    """What the chat template writes around messages, found by rendering marks in their place; nothing for raw text."""
    if rendering == "raw":
        return ()
    marked = [{**message, "content": MARK} for message in conversation]
    return tuple(rendered_text(MARK, marked, rendering, tokenizer, chat_template).split(MARK))


def encode(tokenizer: Any, text: str, rendering: str) -> list[int]:
    """Token ids: the tokenizer's own for raw text; a chat template brings its special tokens itself."""
    try:
        return tokenizer(text, add_special_tokens=rendering == "raw", verbose=False).input_ids
    except Exception as error:  # the tokenizers library raises bare exceptions, for example for a missing unknown token
        raise InputError(
            f"{quoted(text)} has no tokens in this vocabulary ({first_line(error)}); leave it out, or save the "
            f"tokenizer again."
        ) from error


def token_strings(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """Each token as text, special tokens as they are written, leading spaces kept.

    SentencePiece-like tokenizers write a leading space as `▁` and lose it when one token is decoded alone.
    """
    distinct = list(dict.fromkeys(ids))
    pieces = tokenizer.convert_ids_to_tokens(distinct)
    shown = {index: token_string(tokenizer, index, piece) for index, piece in zip(distinct, pieces, strict=True)}
    return [shown[index] for index in ids]


def token_string(tokenizer: Any, index: int, piece: str | None) -> str:
    """One token as text; `piece` is how the vocabulary writes it."""
    text = tokenizer.decode([index], skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return f" {text}" if (piece or "").startswith("▁") and not text.startswith(" ") else text
