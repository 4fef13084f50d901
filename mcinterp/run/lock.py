"""One process at a time in a run's directory: a lock that the system frees when its holder dies, however it dies."""

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mcinterp.errors import InputError

LOCK = ".lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a directory. Raises `InputError` with the process and host of whoever holds it."""
    handle = taken(folder)
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode(), 0)
        yield
    finally:
        os.close(handle)


def taken(folder: Path) -> int:
    """The locked file, opened again where it was removed between opening and locking."""
    file = folder / LOCK
    while True:
        handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            said = holder(handle)
            os.close(handle)
            raise InputError(
                f"run directory {str(folder)!r} is being written by {said}; wait for it, or give another with --out."
            ) from None
        if file.exists() and os.fstat(handle).st_ino == file.stat().st_ino:
            return handle
        os.close(handle)


def holder(handle: int) -> str:
    """Who holds the lock, in words."""
    try:
        found = json.loads(os.pread(handle, 4096, 0))
        return f"process {found['pid']} on {found['host']}"
    except (ValueError, KeyError, TypeError):
        return "another process"
