"""The noun of every prompt, where its tokens stand, and how surprising it is to the base there."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from mcinterp.chain import Stage
from mcinterp.errors import InputError
from mcinterp.prompts import Prompts
from mcinterp.rendering import RenderedPrompts
from mcinterp.scoring import continuation_log_probs


def nouns_of(prompts: Prompts) -> list[str]:
    """The noun that every prompt names in its metadata.

    Raises:
        InputError: where there is none, or where it does not stand in the prompt.
    """
    found = []
    for index, prompt in enumerate(prompts.items):
        noun = prompt.metadata.get("noun")
        if not isinstance(noun, str) or not noun or spot(noun, said(prompt.text, prompt.messages)) is None:
            raise InputError(
                f"prompt {index} ({prompt.text[:40]!r}) has {noun!r} for its `noun`; give a word that stands in it."
            )
        found.append(noun)
    return found


def said(text: str, messages: Sequence[Any]) -> str:
    """All that a prompt says."""
    return " ".join([text, *(str(message["content"]) for message in messages)])


def spot(noun: str, text: str) -> tuple[int, int] | None:
    """Where a noun first stands as a whole word, whatever its case."""
    found = re.search(rf"(?<!\w){re.escape(noun)}(?!\w)", text, re.IGNORECASE)
    return found.span() if found else None


def noun_surprise(stage: Stage, rendered: RenderedPrompts, nouns: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """-log P of every noun's tokens given what stands before them (nats, all of them together), and how many there are.

    Tokens that overlap the noun are its own, and so is the space before it, on its own or part of a token. Missing
    where nothing stands before it.

    Raises:
        InputError: for a tokenizer that does not know the places of its tokens, or a noun that its prompt lost.
    """
    if not stage.tokenizer.is_fast:
        raise InputError(f"stage {stage.name!r} has a tokenizer that does not say where tokens stand; give a fast one.")
    places = [place(stage.tokenizer, rendered, index, noun) for index, noun in enumerate(nouns)]
    known = [index for index, (start, _) in enumerate(places) if start > 0]
    surprise = np.full(len(nouns), np.nan, dtype=np.float32)
    if known:
        before = [rendered.token_ids[index][: places[index][0]] for index in known]
        own = [rendered.token_ids[index][slice(*places[index])] for index in known]
        surprise[known] = -continuation_log_probs(stage, before, own).numpy()
    return surprise, np.asarray([end - start for start, end in places], dtype=np.int32)


def place(tokenizer: Any, rendered: RenderedPrompts, index: int, noun: str) -> tuple[int, int]:
    """The first token of a noun in a prompt, and the one behind its last."""
    text = rendered.texts[index]
    found = spot(noun, text)
    if found is None:
        raise InputError(f"noun {noun!r} is not in {text[:60]!r}, as it is rendered; give another noun or rendering.")
    offsets = tokenizer(
        text, add_special_tokens=rendered.renderings[index] == "raw", return_offsets_mapping=True
    ).offset_mapping
    own = [number for number, (left, right) in enumerate(offsets) if left < found[1] and right > found[0]]
    start = own[0]
    while start and text[slice(*offsets[start - 1])] == " ":
        start -= 1
    return start, own[-1] + 1
