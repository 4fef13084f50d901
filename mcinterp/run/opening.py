"""Opening a run's directory for writing: who may, and what becomes of what lies there."""

import errno
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from typing import get_args

from mcinterp import results
from mcinterp.errors import InputError, first_line
from mcinterp.results import Unwritable
from mcinterp.run.directory import LOG, PARTS, RUN
from mcinterp.run.listening import listening
from mcinterp.run.lock import LOCK, locked
from mcinterp.run.manifest import MANIFEST
from mcinterp.run.writing import REMEDY, Existing, Writing

OURS = {LOCK, LOG, MANIFEST, PARTS}
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}


@contextmanager
def writing(path: str | Path, existing: Existing, say: Callable[[str], None]) -> Iterator[Writing]:
    """A run's directory, locked while it is written into.

    Raises `InputError` where it holds other things than a run, holds a run and neither resuming nor replacing was
    asked for, is written by another process, or cannot be written.
    """
    if existing not in get_args(Existing):
        raise InputError(f"got existing={existing!r}; give one of {', '.join(get_args(Existing))}.")
    folder = Path(path).expanduser()
    new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"run directory {str(path)!r} cannot be written ({first_line(error)}); give another with --out."
        ) from error
    refuse_strangers(folder)
    with locked(folder):
        refuse_earlier(folder, existing)
        sweep(folder)
        run = Writing(folder, existing, say)
        try:
            with listening(run):
                yield run
        except Unwritable as error:
            raise Unwritable(error.path, error.reason, REMEDY) from error
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise Unwritable(error.filename or folder, error.strerror or first_line(error), REMEDY) from error
        finally:
            if new and not run.begun:
                discard(folder)


def refuse_strangers(folder: Path) -> None:
    """Refuse a directory of other things than a run."""
    if (folder / RUN).exists():
        return
    strangers = sorted(p.name for p in folder.iterdir() if p.name not in OURS and p.suffix != results.PARTIAL)
    if strangers:
        raise InputError(
            f"directory {str(folder)!r} holds {strangers[0]!r} and no run; give an empty or a new one with --out."
        )


def refuse_earlier(folder: Path, existing: Existing) -> None:
    """Refuse a directory of an earlier run unless it was said what becomes of it."""
    if existing == "refuse" and (folder / RUN).exists():
        raise InputError(
            f"run directory {str(folder)!r} holds a run; continue it with --resume, replace it with --replace, or "
            f"give another with --out."
        )


def sweep(folder: Path) -> None:
    """Remove what an interrupted writer left half written."""
    for orphan in [*folder.rglob(f".*{results.PARTIAL}")]:
        if orphan.is_dir():
            rmtree(orphan, ignore_errors=True)
        else:
            orphan.unlink(missing_ok=True)


def discard(folder: Path) -> None:
    """Remove a new directory into which no result was written."""
    for name in (LOG, LOCK):
        (folder / name).unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()
