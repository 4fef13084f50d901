"""The one exception that stands for bad input, as opposed to a bug of the library."""


class InputError(ValueError):
    """Input that cannot be used: its message is one sentence with what was given, what was wanted, what to do.

    The command line prints the message and exits with status 2; any other exception is a bug and
    keeps its traceback.
    """


def first_line(error: BaseException) -> str:
    """The first non-empty line of an exception's message, for quoting inside a sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__
