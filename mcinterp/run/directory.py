"""A run that was made, as a directory to read."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from mcinterp import results
from mcinterp.errors import InputError, first_line

RUN, SUMMARY, REPORT = "run.json", "summary.json", "report.html"
LOG, PARTS = "log.txt", "parts"


@dataclass(frozen=True)
class Run:
    """A run's directory; `made_before` says that it was finished when it was asked for again."""

    path: Path
    made_before: bool = False

    @classmethod
    def open(cls, path: str | Path) -> "Run":
        """A run that was made before."""
        run = cls(Path(path).expanduser())
        if not (run.path / RUN).is_file():
            raise InputError(f"{str(path)!r} is no run directory; give one that holds {RUN}.")
        return run

    def read(self, name: str) -> dict[str, Any]:
        """A JSON file of the run."""
        try:
            return json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(
                f"{str(self.path / name)!r} cannot be read ({first_line(error)}); make the run again."
            ) from error

    def load(self, name: str) -> xr.Dataset:
        """One analysis of the run; an `InputError` where it was not made."""
        return results.load(self.path / f"{name}.nc")

    def holds(self, name: str) -> bool:
        """Whether an analysis was made."""
        return (self.path / f"{name}.nc").is_file()
