"""What `catalogue:NAME` and `catalogue:NAME/STAGE` stand for."""

from collections.abc import Iterable

from mcinterp.catalogue.entry import Entry, Published
from mcinterp.catalogue.reading import entry
from mcinterp.errors import InputError, quoted

PREFIX = "catalogue:"


def expanded(specs: Iterable[str]) -> list[str]:
    """Specs of checkpoints in which every whole entry (`catalogue:NAME`) is replaced by those of its stages.

    Raises `InputError` for an unknown entry.
    """
    found: list[str] = []
    for spec in map(str, specs):
        whole = spec.startswith(PREFIX) and not set("/+") & set(spec)
        found += stages_of(spec.removeprefix(PREFIX)) if whole else [spec]
    return found


def stages_of(name: str) -> list[str]:
    """The specs of all stages of an entry, base first."""
    return [f"{PREFIX}{name}/{stage.name}" for stage in entry(name).stages]


def published(spec: str) -> tuple[Entry, Published]:
    """The entry and stage that `catalogue:NAME/STAGE` names.

    Raises `InputError` for an unknown entry or stage, and for a whole entry where one checkpoint is wanted.
    """
    name, _, wanted = spec.removeprefix(PREFIX).partition("/")
    found = entry(name)
    stage = found.stage(wanted)
    if stage is None:
        names = ", ".join(f"{PREFIX}{name}/{each.name}" for each in found.stages)
        given = (
            f"names no stage {quoted(wanted)} of it" if wanted else "is a whole chain where one checkpoint is wanted"
        )
        raise InputError(f"{quoted(spec)} {given}; give one of {names}.")
    return found, stage
