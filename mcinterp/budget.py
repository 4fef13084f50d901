"""How large batches are: what is usual, more where a GPU has room, and half as much whenever memory runs out.

Every function that batches asks here. Where memory runs out inside a public analysis, batches are halved for the rest
of the process and the analysis begins again; the share stands in the provenance of its result as `batch_share`.
"""

import gc
import logging
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from mcinterp.errors import InputError, first_line

LEAST_SHARE = 2.0**-24
ROOM = 8
SIGNS = ("can't allocate memory", "out of memory", "not enough memory")

log: logging.Logger = logging.getLogger(__name__)
P = ParamSpec("P")
R = TypeVar("R")


class Budget:
    """The share of the usual batch sizes that this process uses: 1, or less after memory ran out."""

    def __init__(self) -> None:
        self.share: float = 1.0

    def halve(self, why: str) -> None:
        """Use batches of half the size from now on; an `InputError` where they cannot become smaller."""
        if self.share <= LEAST_SHARE:
            raise InputError(
                f"memory runs out even with the smallest batches ({why}); use shorter prompts, another device, a "
                f"smaller dtype, or hold the weights one layer at a time (placement stream)."
            )
        self.share /= 2
        log.warning("memory ran out (%s): batches are %s of their usual size from now on", why, self.share)
        import torch

        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


BUDGET = Budget()


def allowed(size: int) -> int:
    """What of a usual size (bytes, tokens, rows) may be used now; 1 at least."""
    return max(1, int(size * BUDGET.share))


def bytes_on(stage: Any, usual: int) -> int:
    """Bytes that a stage's batches may take: the usual ones, or an eighth of what its GPU has left, if that is more.

    Rounded down to a power of two, so that small differences in free memory do not change batches.
    """
    if stage.device == "cpu" or not stage.hold.spare:
        return allowed(usual)
    return allowed(max(usual, 2 ** (int(stage.hold.spare // ROOM).bit_length() - 1)))


def halving(call: Callable[P, R]) -> Callable[P, R]:
    """The function, begun again with batches of half the size as often as memory runs out inside it."""

    @wraps(call)
    def within(*args: P.args, **kwargs: P.kwargs) -> R:
        while True:
            try:
                return call(*args, **kwargs)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                why = first_line(error)
            BUDGET.halve(why)

    return within


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a GPU or here."""
    import torch

    said = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(sign in said for sign in SIGNS)
