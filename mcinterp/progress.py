"""Progress of whatever takes long: a bar with rate and time left on a terminal, and now and then a line in the log."""

import logging
import os
import sys
import time
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

if TYPE_CHECKING:
    Bar = tqdm[Any]
else:
    Bar = tqdm

SHOW_AFTER = 2.0
LOG_EVERY = 60.0

log: logging.Logger = logging.getLogger(__name__)


class Progress(Bar):
    """A tqdm bar that also logs: a line a minute with rate and time left, and one when something long is done.

    The bar is shown on a terminal only, and never while `silent` or tqdm's own TQDM_DISABLE is set.
    """

    silent: bool = False
    disable: bool

    def __init__(self, iterable: Any = None, *, desc: str, unit: str, total: int | None = None) -> None:
        self.shown: bool = sys.stderr.isatty() and not Progress.silent and not os.environ.get("TQDM_DISABLE")
        self.logged: float = time.monotonic()
        super().__init__(iterable, desc=desc, unit=unit, total=total, delay=SHOW_AFTER, disable=False)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Draw the bar where it is shown; log it where a minute has passed."""
        if time.monotonic() - self.logged >= LOG_EVERY:
            self.logged = time.monotonic()
            log.info("%s", self.line())
        if self.shown:
            super().display(msg, pos)

    def line(self) -> str:
        """The bar as text: what is done, of how much, the rate and the time left."""
        return self.format_meter(**{**self.format_dict, "ncols": None, "bar_format": LINE}).strip()

    def close(self) -> None:
        """End the bar, and log what took longer than it takes to show one."""
        if not self.disable:
            took = self.format_dict["elapsed"]
            if took >= SHOW_AFTER:
                rate = self.n / took
                log.info("%s: %s %s in %.1f s (%.3g a second)", self.desc, self.n, self.unit, took, rate)
        self.disable |= not self.shown
        super().close()


LINE = "{desc}: {n_fmt} of {total_fmt} {unit}, {rate_fmt}, {remaining} left"
