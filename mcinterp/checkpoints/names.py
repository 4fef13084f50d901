"""What the names of checkpoints stand for; nothing is loaded."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mcinterp.catalogue import PREFIX, expanded, published
from mcinterp.checkpoints.adapters import ADAPTER_FILE, declared_base, refuse_stacked
from mcinterp.checkpoints.checkpoint import Checkpoint
from mcinterp.checkpoints.reading import SPEC
from mcinterp.checkpoints.trust import CAREFUL, Trust
from mcinterp.errors import InputError, quoted
from mcinterp.organisms import POCKET_STAGES, pocket_path

HUB_ID = re.compile(r"(?!.*\.\.)[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?(@[\w./-]{1,255})?", re.ASCII)
STAGE_NAME = re.compile(r"(?P<name>[A-Za-z][\w.-]*)=(?P<rest>.+)", re.DOTALL)


def parse_checkpoint(spec: str, name: str | None = None, *, trust: Trust = CAREFUL) -> Checkpoint:
    """Read a checkpoint's name; nothing is loaded.

    Raises `InputError` for a directory that is not there, an unknown pocket name, a malformed hub id, or a stage name
    that is empty or has characters that cannot be shown.
    """
    spec = str(spec)
    stage = STAGE_NAME.fullmatch(spec)
    if name is None and stage and not exists(spec):
        return parse_checkpoint(stage["rest"], stage["name"], trust=trust)
    if name is not None:
        require_shown(name)
    checkpoint = replace(locate_checkpoint(spec), trust=trust)
    return replace(checkpoint, name=name) if name else checkpoint


def require_shown(name: Any) -> None:
    """Refuse a stage's name that is empty, or has characters that cannot be shown."""
    if not isinstance(name, str) or not name or not name.isprintable():
        raise InputError(f"a stage is named {quoted(name)}; give it a name of characters that can be shown.")


def refuse_taken(name: str) -> None:
    """Refuse a stage's name that stands for something else in results."""
    if name == "difference":
        raise InputError("a stage is named 'difference', which stands for tuned minus base; give it another name.")


def exists(spec: str) -> bool:
    """Whether something lies at a path; never where the path cannot be one."""
    try:
        return Path(spec).expanduser().exists()
    except (OSError, ValueError, RuntimeError):
        return False


def locate_checkpoint(spec: str) -> Checkpoint:
    """The checkpoint that a spec without a stage name stands for."""
    there = bool(spec) and exists(spec)
    path = Path(spec).expanduser() if there else Path(spec)
    if spec.startswith("pocket:") and "+" not in spec:
        return pocket_checkpoint(spec)
    if spec.startswith(PREFIX) and "+" not in spec:
        return catalogue_checkpoint(spec)
    if there and path.is_dir():
        if (path / ADAPTER_FILE).exists():
            return adapter_checkpoint(spec, path, base=None)
        return Checkpoint(name=stage_name(path), spec=spec, location=str(path))
    if there:
        raise InputError(f"checkpoint {quoted(spec, SPEC)} is a file; give the directory that it lies in.")
    if "+" in spec:
        base, adapter = spec.rsplit("+", 1)
        return adapter_checkpoint(spec, Path(adapter), base=locate_checkpoint(base))
    if HUB_ID.fullmatch(spec):
        location, _, revision = spec.partition("@")
        return Checkpoint(name=location.split("/")[-1], spec=spec, location=location, revision=revision or None)
    raise InputError(
        f"checkpoint {quoted(spec, SPEC)} is neither a directory that exists nor a hub id; give org/name, "
        f"org/name@revision, a directory in Hugging Face format, BASE+ADAPTER, {PREFIX}NAME/STAGE, or one of "
        f"{pocket_names()}."
    )


def stage_name(folder: Path) -> str:
    """What a stage is called after its directory, without characters that cannot be shown."""
    return "".join(c if c.isprintable() else "_" for c in folder.resolve().name) or "checkpoint"


def pocket_names() -> str:
    """The shipped checkpoints, as they are asked for."""
    return ", ".join(f"pocket:{name}" for name in POCKET_STAGES)


def pocket_checkpoint(spec: str) -> Checkpoint:
    """One of the checkpoints that ship with the library."""
    name = spec.removeprefix("pocket:")
    if name not in POCKET_STAGES:
        raise InputError(
            f"checkpoint {quoted(spec, SPEC)} does not ship with the library; give one of {pocket_names()}."
        )
    return Checkpoint(name=name, spec=spec, location=str(pocket_path(name)))


def catalogue_checkpoint(spec: str) -> Checkpoint:
    """One stage of an entry of the catalogue, with what is told of the entry."""
    entry, stage = published(spec)
    revision = None if stage.revision == "main" else stage.revision
    return Checkpoint(stage.name, spec, stage.hub, revision, entry=entry.name, notes=entry.notes)


def adapter_checkpoint(spec: str, adapter: Path, base: Checkpoint | None) -> Checkpoint:
    """A PEFT adapter on the given base, or on the one its own configuration names."""
    if not exists(str(adapter / ADAPTER_FILE)):
        raise InputError(f"adapter {quoted(adapter, SPEC)} has no {ADAPTER_FILE}; give a directory saved by PEFT.")
    adapter = adapter.expanduser()
    if base is None:
        declared = declared_base(spec, adapter / ADAPTER_FILE)
        refuse_stacked(spec, exists(str(Path(declared) / ADAPTER_FILE)) or "+" in declared)
        try:
            base = locate_checkpoint(declared)
        except InputError as error:
            raise InputError(
                f"adapter {quoted(spec, SPEC)} names {quoted(declared)} as its base, which is not here; give the base "
                f"as BASE+ADAPTER."
            ) from error
    refuse_stacked(spec, base.adapter is not None)
    return replace(base, name=stage_name(adapter), spec=spec, adapter=adapter)


def parse_chain(
    specs: Sequence[str], names: Sequence[str] | None = None, *, trust: Trust = CAREFUL
) -> list[Checkpoint]:
    """The checkpoints of a chain, in order, under distinct stage names (a repeated one is numbered).

    An entry of the catalogue (`catalogue:NAME`) stands for its base and all its stages.
    """
    specs = expanded(specs)
    if len(specs) < 2:
        raise InputError(f"a comparison wants at least two checkpoints, base first; got {len(specs)}.")
    if names is not None and len(names) != len(specs):
        raise InputError(f"got {len(names)} stage names for {len(specs)} checkpoints; give one name each.")
    parsed = [parse_checkpoint(spec, names[i] if names else None, trust=trust) for i, spec in enumerate(specs)]
    for checkpoint in parsed:
        refuse_taken(checkpoint.name)
    distinct: list[Checkpoint] = []
    for checkpoint in parsed:
        taken = {each.name for each in distinct}
        count = 1 + sum(earlier.name == checkpoint.name for earlier in parsed[: len(distinct)])
        name = checkpoint.name if count == 1 else f"{checkpoint.name}-{count}"
        while name in taken:
            count += 1
            name = f"{checkpoint.name}-{count}"
        distinct.append(replace(checkpoint, name=name))
    return distinct
