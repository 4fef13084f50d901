"""Where parts of an analysis wait until it is whole: a directory, or any place that fsspec names by a URL."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import xarray as xr

from mcinterp import results
from mcinterp.errors import InputError, first_line
from mcinterp.results import Unwritable
from mcinterp.run.manifest import Made, content_of


@dataclass(frozen=True)
class Parts:
    """A place that every worker can write into: the path of a directory, or a URL."""

    place: str

    @property
    def remote(self) -> bool:
        """Whether it is a URL."""
        return "://" in self.place

    def of(self, name: str) -> str:
        """Where one part lies."""
        return f"{self.place.rstrip('/')}/{name}.nc"

    def write(self, name: str, dataset: xr.Dataset) -> Made:
        """Write a part, whole or not at all. Raises `Unwritable`."""
        if not self.remote:
            return content_of(results.save(dataset, writable_folder(Path(self.place)) / f"{name}.nc"))
        with tempfile.TemporaryDirectory() as folder:
            file = results.save(dataset, Path(folder) / "part.nc")
            with reaching(self.of(name)) as (system, path):
                system.makedirs(system._parent(path), exist_ok=True)
                system.put_file(str(file), path)
            return content_of(file)

    def read(self, name: str, made: Made) -> xr.Dataset | None:
        """A part as it was written; None where it is not there or is not what was written."""
        if not self.remote:
            file = Path(self.of(name))
            return results.load(file) if file.is_file() and content_of(file) == made else None
        with tempfile.TemporaryDirectory() as folder, reaching(self.of(name)) as (system, path):
            if not system.exists(path):
                return None
            file = Path(folder) / "part.nc"
            system.get_file(path, str(file))
            return results.load(file) if content_of(file) == made else None

    def remove(self, name: str) -> None:
        """Take a part away, where it is there."""
        if not self.remote:
            Path(self.of(name)).unlink(missing_ok=True)
            return
        with reaching(self.of(name)) as (system, path):
            if system.exists(path):
                system.rm_file(path)


def writable_folder(folder: Path) -> Path:
    """The directory, made where it is not there. Raises `Unwritable`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unwritable(folder, error.strerror or first_line(error)) from error
    return folder


@contextmanager
def reaching(url: str) -> Iterator[tuple[Any, str]]:
    """The file system of a URL and the path in it. Raises `InputError` where it cannot be reached or written."""
    try:
        yield fsspec.core.url_to_fs(url)
    except InputError:
        raise
    except (OSError, ValueError, ImportError) as error:
        raise Unwritable(url, first_line(error), "give another place for parts") from error
