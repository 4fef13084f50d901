"""Which tokens of a prompt are patched: position sets, by number, by kind, or by the text they stand in.

Positions count from the last prompt token, which is 0; earlier ones are negative, completion tokens positive.
"""

from collections.abc import Iterable, Sequence

from mcinterp.errors import InputError
from mcinterp.sequences import Sequences

PositionChoice = str | int | slice | Iterable[int]
Span = tuple[int, int]
NAMED = ("last", "each", "all", "template", "content")


def chosen_positions(
    sequences: Sequences, index: int, positions: PositionChoice, *, optional: bool = False
) -> tuple[int, ...]:
    """The positions of one prompt that a choice names, in ascending order.

    `last` is the last prompt token; `all` (and `each`) every token; `template` the prompt tokens that the chat template
    brought, `content` those of the messages; another string the tokens in which that text stands (its last occurrence
    in the prompt); a number, several numbers or a slice are positions themselves. `optional` leaves out positions that
    a shorter prompt lacks instead of refusing them.

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
    if not found and not optional:
        raise InputError(f"no position of prompt {index} was chosen; name one at least.")
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
    """Prompt positions inside (or outside) the messages that a chat template was put around."""
    if sequences.prompts.renderings[index] != "chat":
        raise InputError(
            f"template positions were asked for and prompt {index} is rendered raw; render it by the chat template."
        )
    content = set(token_positions(sequences, index, content_spans(sequences, index)))
    prompt = range(1 - len(sequences.prompts.token_ids[index]), 1)
    return [p for p in prompt if (p in content) == inside]


def content_spans(sequences: Sequences, index: int) -> list[Span]:
    """The stretches of a chat prompt's text that lie between the pieces its template wrote."""
    text, frames = "".join(sequences.prompts.tokens[index]), sequences.prompts.frames[index]
    starts, place = [], 0
    for number, piece in enumerate(frames):
        last = number == len(frames) - 1
        starts.append(text.rfind(piece) if last else text.find(piece, place))
        if starts[-1] < place or (number == 0 and starts[0]) or (last and not text.endswith(piece)):
            raise InputError(
                f"the text that the chat template puts around prompt {index} is not found among its tokens; give "
                f"positions by number or text."
            )
        place = starts[-1] + len(piece)
    ends = [start + len(piece) for start, piece in zip(starts, frames, strict=True)]
    return list(zip(ends[:-1], starts[1:], strict=True))


def text_positions(sequences: Sequences, index: int, text: str) -> list[int]:
    """The prompt positions whose tokens hold the last occurrence of a text."""
    begin = "".join(sequences.prompts.tokens[index]).rfind(text) if text else -1
    if begin < 0:
        raise InputError(
            f"position {text!r} is none of {', '.join(NAMED)} and does not stand in prompt {index} "
            f"({sequences.prompts.texts[index][:40]!r}); give a number or text that is in every prompt."
        )
    return token_positions(sequences, index, [(begin, begin + len(text))])


def token_positions(sequences: Sequences, index: int, spans: Sequence[Span]) -> list[int]:
    """The prompt positions whose tokens hold any character of some stretches of the prompt's text."""
    tokens = sequences.prompts.tokens[index]
    found, place = [], 0
    for column, token in enumerate(tokens):
        if any(place < end and place + len(token) > begin for begin, end in spans):
            found.append(column + 1 - len(tokens))
        place += len(token)
    return found
