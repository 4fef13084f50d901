"""The alignment report: the properties of all stages side by side, and what follows from each."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mcinterp.errors import InputError

Verdict = Literal["same", "reported", "cut", "refused"]


class AlignmentError(InputError):
    """Checkpoints that must not be compared; the message names the property, the values and what to do."""


@dataclass(frozen=True)
class AlignedProperty:
    """One property of every stage, and what follows from its values."""

    name: str
    values: tuple[str, ...]
    verdict: Verdict
    remedy: str = ""


@dataclass(frozen=True)
class Alignment:
    """The properties of all stages side by side, the vocabulary they share, and the prompts' token ids."""

    stages: tuple[str, ...]
    properties: tuple[AlignedProperty, ...]
    vocabulary: int
    context: int
    prompts: tuple[tuple[tuple[int, ...], ...], ...] = ()

    @property
    def refused(self) -> tuple[AlignedProperty, ...]:
        """The properties for which the stages must not be compared."""
        return tuple(entry for entry in self.properties if entry.verdict == "refused")

    def require(self) -> "Alignment":
        """The report itself if nothing is refused, else an `AlignmentError` about the first refused property."""
        for entry in self.refused:
            shown = [shorten(value, 80) for value in entry.values]
            pairs = ", ".join(f"{stage}: {value}" for stage, value in zip(self.stages, shown, strict=True))
            raise AlignmentError(f"the checkpoints differ in {entry.name} ({pairs}); {entry.remedy}.")
        return self

    def __str__(self) -> str:
        width = max(len(entry.name) for entry in self.properties)
        columns = [
            max(len(stage), *(len(shorten(e.values[i])) for e in self.properties))
            for i, stage in enumerate(self.stages)
        ]
        rows = [("property", self.stages, "verdict")]
        rows += [(e.name, tuple(shorten(v) for v in e.values), e.verdict) for e in self.properties]
        return "\n".join(
            f"{name:<{width}}  " + "  ".join(f"{v:<{w}}" for v, w in zip(values, columns, strict=True)) + f"  {verdict}"
            for name, values, verdict in rows
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for run.json: the token ids once, since every stage has the same."""
        return {
            "aligned": not self.refused,
            "stages": list(self.stages),
            "vocabulary": self.vocabulary,
            "context": self.context,
            "properties": {
                e.name: {"values": dict(zip(self.stages, e.values, strict=True)), "verdict": e.verdict}
                for e in self.properties
            },
            "prompt_token_ids": prompt_ids_by_stage(self.stages, self.prompts),
        }


def prompt_ids_by_stage(stages: Sequence[str], prompts: Sequence[Sequence[Sequence[int]]]) -> Any:
    """Token ids of every prompt under each tokenizer; under "all stages" where they agree."""
    if not prompts:
        return {}
    if all(ids == prompts[0] for ids in prompts):
        return {"all stages": [list(ids) for ids in prompts[0]]}
    return {stage: [list(ids) for ids in each] for stage, each in zip(stages, prompts, strict=True)}


def shorten(text: str, limit: int = 36) -> str:
    """Text on one line of at most `limit` characters."""
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[: 2 * limit])
    return line if len(line) <= limit else line[: limit - 1] + "…"


def must_agree(name: str, values: Iterable[Any]) -> AlignedProperty:
    """A property that refuses the comparison where it differs."""
    texts = tuple(str(value) for value in values)
    remedy = "give checkpoints of one architecture and shape, tuned from the same base"
    return AlignedProperty(name, texts, "same" if len(set(texts)) == 1 else "refused", remedy)


def reported(name: str, values: Iterable[Any]) -> AlignedProperty:
    """A property that may differ, and is said when it does."""
    texts = tuple(str(value) for value in values)
    return AlignedProperty(name, texts, "same" if len(set(texts)) == 1 else "reported")
