"""What several files of tests read and none changes: the shipped checkpoints and the grammar over bytes."""

from functools import cache

from mcinterp.organisms import pocket_path
from mcinterp.organisms.genres import pocket_grammar
from mcinterp.organisms.grammar import Grammar
from mcinterp.organisms.pocket import Pocket, load

BYTES_END = 256


@cache
def pocket(stage: str) -> Pocket:
    """A shipped checkpoint, loaded once."""
    return load(pocket_path(stage))


@cache
def byte_grammar() -> Grammar:
    """The pocket grammar with one token a byte and ``BYTES_END`` as end-of-text."""
    return pocket_grammar(lambda text: list(text.encode()), BYTES_END)
