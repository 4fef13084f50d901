"""One prompt: text or messages, and what makes it unusable whatever the tokenizer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


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

    @property
    def fault(self) -> str | None:
        """What makes it no prompt, as the end of a sentence; nothing where it is one."""
        if not self.text:
            return "is empty; give text or leave it out"
        if not all(map(is_unicode, (self.text, self.template or "", *(m["content"] for m in self.messages)))):
            return "holds a lone surrogate, which stands for no character; write the character itself or leave it out"
        return None


def is_unicode(text: str) -> bool:
    """Whether text can be written as UTF-8: lone surrogates cannot."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
