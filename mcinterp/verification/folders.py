"""Checkpoint folders written whole or not at all, and the refusal to write over anything else."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from mcinterp.errors import InputError, first_line
from mcinterp.results import write_json

RECORD = "mcinterp.json"


def free_folder(out: str | Path, inputs: Iterable[str | Path]) -> Path:
    """The folder to write, or an `InputError` where that would destroy an input or anything this library did not write.

    A folder that `write_folder` has written before, and nothing was added to, is free.
    """
    target = Path(out).expanduser().resolve()
    for given in (Path(each).expanduser().resolve() for each in inputs if Path(each).expanduser().is_dir()):
        if given.is_relative_to(target):
            raise InputError(f"{str(out)!r} holds the checkpoint {str(given)!r} that is read; give another folder.")
    if target.exists() and not target.is_dir():
        raise InputError(f"{str(out)!r} is a file and a folder is wanted; give another name.")
    added = sorted(added_to(target)) if target.exists() else []
    if added:
        raise InputError(
            f"folder {str(out)!r} holds {added[0]!r}, which no earlier call wrote; give an empty folder, or one "
            f"that is not there yet."
        )
    return target


def added_to(folder: Path) -> set[str]:
    """The entries of a folder that its own record does not name; all of them without a record."""
    present = {entry.name for entry in folder.iterdir()}
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return present
    written = record.get("files") if isinstance(record, dict) else None
    return present - set(written if isinstance(written, list) else []) - {RECORD}


def write_folder(target: Path, fill: Callable[[Path], Mapping[str, Any]]) -> Path:
    """Let `fill` write files into a new folder and say what they are, then put it in place with its record."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
        try:
            seal(temporary, fill(temporary))
            replace_folder(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise InputError(f"{str(target)!r} cannot be written ({first_line(error)}); give another folder.") from error
    return target


def seal(folder: Path, record: Mapping[str, Any]) -> None:
    """Add the record with the names of all files, and let everyone read them."""
    files = sorted(folder.iterdir())
    write_json(folder / RECORD, {**record, "files": [file.name for file in files]})
    folder.chmod(0o755)
    for file in files:
        file.chmod(0o644)


def replace_folder(new: Path, target: Path) -> None:
    """Put a folder in the place of another, which is gone only once the new one stands there."""
    if not target.exists():
        os.replace(new, target)
        return
    aside = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.")) / "old"
    os.replace(target, aside)
    try:
        os.replace(new, target)
    except OSError:
        os.replace(aside, target)
        raise
    finally:
        shutil.rmtree(aside.parent, ignore_errors=True)
