"""What every kind of evidence is given, and what it follows."""

from typing import Any, NamedTuple

from mcinterp.chain import Chain
from mcinterp.intervene.patching import BOTH
from mcinterp.sequences import Sequences

METRIC = "attractor_log_odds"
WAYS: dict[str, str] = dict(zip(BOTH, ("necessity", "sufficiency"), strict=True))


class Setting(NamedTuple):
    """A pair, the sequences and positions that are read, and the followed token."""

    chain: Chain
    sequences: Sequences
    reads: tuple[int, ...]
    attractor: int | None

    @property
    def read(self) -> dict[str, Any]:
        """Where it is read and which token is followed, as analyses take it."""
        return {"read_at": self.reads, "attractor": self.attractor}
