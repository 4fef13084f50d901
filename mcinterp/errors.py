"""The one exception that stands for bad input, as opposed to a bug of the library, and how its message quotes."""

QUOTED = 60
LINE = 160


class InputError(ValueError):
    """Input that cannot be used: its message is one sentence with what was given, what was wanted, what to do.

    The command line prints the message and exits with status 2; any other exception is a bug and
    keeps its traceback.
    """


def quoted(text: object, limit: int = QUOTED) -> str:
    """Text in quotation marks for a message: on one line, control characters escaped, the middle of a long one cut.

    At most `limit` characters stand between the marks.
    """
    given = str(text)
    ends = given if len(given) <= limit else given[:limit] + given[-limit:]
    body = repr(ends)
    if ends == given and len(body) <= limit + 2:
        return body
    head, tail = limit - limit // 3 - 1, limit // 3
    return f"{body[: head + 1]}…{body[-tail - 1 :]}"


def first_line(error: BaseException) -> str:
    """The first non-empty line of an exception's message, for quoting inside a sentence; a long one is cut.

    A line that ends in a colon takes the next one with it.
    """
    lines = [line.strip() for line in str(error)[: 64 * LINE].splitlines() if line.strip()]
    first = " ".join(lines[: 2 if lines and lines[0].endswith(":") else 1])
    line = first.rstrip(".:") or type(error).__name__
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in line[: LINE + 1])
    return shown if len(shown) <= LINE else f"{shown[: LINE - 1]}…"
