"""Whether a tokenizer and the ids of tokens in a checkpoint's files can be used; `reading` makes the sentence."""

from collections.abc import Mapping
from typing import Any

from mcinterp.errors import quoted


def require_tokens(tokenizer: Any) -> None:
    """Raise `ValueError` for a tokenizer without tokens or with a chat template that is no text, or what it raises."""
    if not tokenizer.get_vocab():
        raise ValueError("it has no token at all")
    template = tokenizer.chat_template
    texts = template.values() if isinstance(template, Mapping) else [template or ""]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError(f"its chat template is {quoted(template)}, and text is wanted")
    tokenizer("")


def require_token_ids(ids: Any) -> None:
    """Raise `ValueError` for end tokens that are neither a whole number nor a list of them."""
    listed = ids if isinstance(ids, list) else [] if ids is None else [ids]
    if not all(isinstance(each, int) for each in listed):
        raise ValueError(f"its `eos_token_id` is {quoted(ids)}, and whole numbers are wanted")
