"""Which files of a run were made: their checksums, in `manifest.json`. What does not stand there was not made."""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

from mcinterp.results import write_json

MANIFEST = "manifest.json"


class Made(NamedTuple):
    """What identifies the content of a file."""

    sha256: str
    bytes: int


def content_of(file: Path) -> Made:
    """The checksum and size of a file."""
    with open(file, "rb") as handle:
        return Made(hashlib.file_digest(handle, "sha256").hexdigest(), file.stat().st_size)


class Manifest:
    """Files of a run by their path in it, and parts of analyses by their name, each with what it must hold."""

    files: dict[str, Made]
    parts: dict[str, Made]

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        record = read_record(folder / MANIFEST)
        self.files, self.parts = (entries(record.get(kind)) for kind in ("files", "parts"))
        self.seen: dict[str, bool] = {}

    def write(self) -> None:
        """Put it on the disk."""
        kinds = {"files": self.files, "parts": self.parts}
        record = {kind: {name: made._asdict() for name, made in sorted(each.items())} for kind, each in kinds.items()}
        write_json(self.folder / MANIFEST, record)

    def add(self, *names: str) -> None:
        """Files that now stand in the directory, whole."""
        for name in names:
            self.files[name] = content_of(self.folder / name)
            self.seen[name] = True
        self.write()

    def forget(self) -> list[str]:
        """Take everything as not made, and say what was; the disk is left until the next writing."""
        known = list(self.files)
        self.files, self.parts, self.seen = {}, {}, {}
        return known

    def intact(self, name: str) -> bool:
        """Whether a file stands there as it was written; each is read once."""
        if name not in self.seen:
            file, expected = self.folder / name, self.files.get(name)
            self.seen[name] = expected is not None and file.is_file() and content_of(file) == expected
        return self.seen[name]

    def damaged(self) -> list[str]:
        """Files that were made and are not as they were written."""
        return [name for name in self.files if not self.intact(name)]


def read_record(file: Path) -> dict[str, Any]:
    """What a manifest says; nothing where there is none, or where it is torn."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def entries(found: Any) -> dict[str, Made]:
    """Entries of one kind; none where they are not of the form that is written here."""
    try:
        return {str(name): Made(str(each["sha256"]), int(each["bytes"])) for name, each in (found or {}).items()}
    except (AttributeError, KeyError, TypeError, ValueError):
        return {}
