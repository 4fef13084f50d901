"""A run is a directory: what was asked (`run.json`), one NetCDF file per analysis, a summary and a report."""

import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from mcinterp import results
from mcinterp.errors import InputError, first_line

RUN, SUMMARY, REPORT = "run.json", "summary.json", "report.html"


@dataclass(frozen=True)
class Run:
    """A run's directory and what may be written into it."""

    path: Path

    @classmethod
    def at(cls, path: str | Path) -> "Run":
        """A directory that a run may be written into; an earlier run there is left as it is.

        Raises `InputError` where the directory holds other things than a run, or cannot be written.
        """
        run = cls(Path(path).expanduser())
        try:
            run.path.mkdir(parents=True, exist_ok=True)
            strangers = sorted(p.name for p in run.path.iterdir()) if not (run.path / RUN).exists() else []
            with tempfile.TemporaryFile(dir=run.path):
                pass
        except OSError as error:
            raise InputError(
                f"run directory {str(path)!r} cannot be written ({first_line(error)}); give another with --out."
            ) from error
        if strangers:
            raise InputError(
                f"directory {str(path)!r} holds {strangers[0]!r} and no run; give an empty or a new one with --out."
            )
        return run

    @classmethod
    def create(cls, path: str | Path, question: Mapping[str, Any]) -> "Run":
        """Begin a run; an earlier run in the same directory is replaced. Raises `InputError` as `at` does."""
        run = cls.at(path)
        run.record(question=question, state="running", command=sys.argv, versions=results.library_versions())
        for stale in [*run.path.glob("*.nc"), run.path / SUMMARY, run.path / REPORT]:
            stale.unlink(missing_ok=True)
        return run

    @classmethod
    def open(cls, path: str | Path) -> "Run":
        """A run that was made before."""
        run = cls(Path(path).expanduser())
        if not (run.path / RUN).is_file():
            raise InputError(f"{str(path)!r} is no run directory; give one that holds {RUN}.")
        return run

    def record(self, **entries: Any) -> None:
        """Write `run.json`, replacing all of it."""
        results.write_json(self.path / RUN, entries)

    def update(self, **entries: Any) -> None:
        """Add to `run.json`."""
        self.record(**{**self.read(RUN), **entries})

    def read(self, name: str) -> dict[str, Any]:
        """A JSON file of the run."""
        return json.loads((self.path / name).read_text(encoding="utf-8"))

    def save(self, name: str, dataset: xr.Dataset) -> xr.Dataset:
        """Write one analysis, whole or not at all."""
        results.save(dataset, self.path / f"{name}.nc")
        return dataset

    def load(self, name: str) -> xr.Dataset:
        """One analysis of the run; an `InputError` where it was not made."""
        return results.load(self.path / f"{name}.nc")

    def holds(self, name: str) -> bool:
        """Whether an analysis was made."""
        return (self.path / f"{name}.nc").is_file()
