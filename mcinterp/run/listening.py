"""What the library logs while a run is made stands in the run's log; warnings are told too."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from mcinterp.run.writing import Writing


class Listener(logging.Handler):
    """Hands what is logged to a run."""

    def __init__(self, run: Writing) -> None:
        super().__init__()
        self.run = run

    def emit(self, record: logging.LogRecord) -> None:
        """Tell a warning and what asks to be told, and only keep anything less."""
        told = record.levelno >= logging.WARNING or getattr(record, "told", False)
        (self.run.say if told else self.run.note)(record.getMessage())


@contextmanager
def listening(run: Writing) -> Iterator[None]:
    """The library's logger, heard from its informative lines on."""
    logger, listener = logging.getLogger("mcinterp"), Listener(run)
    level = logger.level
    logger.addHandler(listener)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(listener)
        logger.setLevel(level)
