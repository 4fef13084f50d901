"""Which tokens of a prompt are patched: position sets, by number, by kind, or by the text they stand in.

Positions count from the last prompt token, which is 0; earlier ones are negative, completion tokens positive.
"""

from collections.abc import Iterable, Sequence

from mcinterp.errors import InputError
from mcinterp.sequences import Sequences

PositionChoice = str | int | slice | Iterable[int]
NAMED = ("last", "each", "all", "template", "content")


def chosen_positions(
    sequences: Sequences, index: int, positions: PositionChoice, *, optional: bool = False
) -> tuple[int, ...]:
    """The positions of one prompt that a choice names, in ascending order.

    `last` is the last prompt token; `all` (and `each`) every token; `template` the prompt tokens that the chat template
    brought, `content` those of the message; another string the tokens in which that text stands (its last occurrence in
    the prompt); a number, several numbers or a slice are positions themselves. `optional` leaves out positions that a
    shorter prompt lacks instead of refusing them.

    Raises `InputError` where the prompt has no such position or text.
    """
    there = sequences.relative(index).tolist()
    if isinstance(positions, str):
        found = named_positions(sequences, index, positions, there)
    elif isinstance(positions, slice):
        low = there[0] if positions.start is None else positions.start
        high = there[-1] + 1 if positions.stop is None else positions.stop
        found = list(range(low, high, positions.step or 1))
    else:
        found = sorted({int(p) for p in ([positions] if isinstance(positions, int) else positions)})
    if optional:
        found = [p for p in found if there[0] <= p <= there[-1]]
    beyond = [p for p in found if not there[0] <= p <= there[-1]]
    if beyond:
        raise InputError(
            f"position {beyond[0]} was asked for and prompt {index} ({sequences.prompts.texts[index][:40]!r}) has "
            f"positions {there[0]} to {there[-1]} (0 is its last token); choose among them."
        )
    return tuple(found)


def named_positions(sequences: Sequences, index: int, name: str, there: Sequence[int]) -> list[int]:
    """The positions that a word, or a text inside the prompt, names."""
    if name == "last":
        return [0]
    if name in ("all", "each"):
        return list(there)
    if name in ("template", "content"):
        return message_positions(sequences, index, inside=name == "content")
    return text_positions(sequences, index, name)


def message_positions(sequences: Sequences, index: int, *, inside: bool) -> list[int]:
    """Prompt positions inside (or outside) the message that a chat template was put around."""
    if sequences.prompts.renderings[index] != "chat":
        raise InputError(
            f"template positions were asked for and prompt {index} is rendered raw; render it by the chat template."
        )
    content = set(text_positions(sequences, index, sequences.prompts.texts[index].strip()))
    prompt = range(1 - len(sequences.prompts.token_ids[index]), 1)
    return [p for p in prompt if (p in content) == inside]


def text_positions(sequences: Sequences, index: int, text: str) -> list[int]:
    """The prompt positions whose tokens hold the last occurrence of a text."""
    tokens = sequences.prompts.tokens[index]
    begin = "".join(tokens).rfind(text) if text else -1
    if begin < 0:
        raise InputError(
            f"position {text!r} is none of {', '.join(NAMED)} and does not stand in prompt {index} "
            f"({sequences.prompts.texts[index][:40]!r}); give a number or text that is in every prompt."
        )
    found, place = [], 0
    for column, token in enumerate(tokens):
        if place < begin + len(text) and place + len(token) > begin:
            found.append(column + 1 - len(tokens))
        place += len(token)
    return found
