"""Shards one after the other, in this process, with the chain that is loaded."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mcinterp.engines.interface import Measure, Shard, Written
from mcinterp.run.parts import Parts


@dataclass(frozen=True)
class LocalEngine:
    """Computes with what is loaded here."""

    setting: Any

    def run(self, measure: Measure, shards: Sequence[Shard], parts: Parts) -> Iterator[Written]:
        """Every shard in order."""
        for shard in shards:
            yield Written(shard.name, parts.write(shard.name, measure(self.setting, shard.sequences)))
