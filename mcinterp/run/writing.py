"""A run that is being made: each of its files whole or not at all, and made only once, however often it is stopped."""

import json
import sys
import tempfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from shutil import rmtree
from typing import Any, Literal

import xarray as xr

from mcinterp import results
from mcinterp.errors import first_line
from mcinterp.results import Unwritable
from mcinterp.run.comparing import refuse_changed
from mcinterp.run.directory import LOG, PARTS, REPORT, RUN, SUMMARY, Run
from mcinterp.run.manifest import Made, Manifest
from mcinterp.run.parts import Parts, writable_folder

Existing = Literal["refuse", "resume", "replace"]
REMEDY = "what was made before is kept: free space and run again with --resume"


class Writing:
    """A locked directory and what is written into it.

    An earlier run that is to be replaced stays whole until the first result of the new one is ready to be saved.
    """

    path: Path
    existing: Existing
    told: Callable[[str], None]
    manifest: Manifest
    record: dict[str, Any]
    begun: bool
    held_lines: list[str]
    stale: list[str]

    def __init__(self, path: Path, existing: Existing, say: Callable[[str], None]) -> None:
        self.path, self.existing, self.told = path, existing, say
        self.manifest, self.record = Manifest(path), dict[str, Any]()
        self.begun, self.held_lines, self.stale = False, list[str](), list[str]()
        self.place: str | None = None

    @property
    def run(self) -> Run:
        """The directory to read."""
        return Run(self.path)

    @property
    def bounds(self) -> list[tuple[int, int]]:
        """Where each shard of the prompts begins and ends."""
        return [(int(start), int(stop)) for start, stop in self.record["shards"]]

    @property
    def parts(self) -> Parts:
        """Where the shards of analyses wait."""
        if self.place is None:
            return Parts(str((self.path / PARTS).resolve()))
        return Parts(f"{self.place.rstrip('/')}/{self.record['id']}")

    def say(self, line: str) -> None:
        """Tell a line, and keep it with its time in `log.txt`."""
        self.told(line)
        self.note(line)

    def note(self, line: str) -> None:
        """Keep a line with its time in `log.txt`."""
        self.held_lines.append(f"{datetime.now().astimezone().isoformat(timespec='seconds')} {line}\n")
        if self.begun or not (self.path / RUN).exists():
            self.write_log()

    def write_log(self) -> None:
        """Add the lines that were kept back to `log.txt`."""
        try:
            with open(self.path / LOG, "a", encoding="utf-8") as log:
                log.writelines(self.held_lines)
        except OSError as error:
            raise Unwritable(self.path / LOG, error.strerror or first_line(error), REMEDY) from error
        self.held_lines = []

    def identify(self, identity: Mapping[str, Any], shards: Sequence[tuple[int, int]], **record: Any) -> bool:
        """Say what the run is; whether it was finished before, so that nothing is left to do.

        Raises `InputError` with the first difference where an earlier run of something else is to be resumed.
        """
        earlier = read_json(self.path / RUN) if self.existing == "resume" else None
        if earlier is None or "identity" not in earlier:
            self.record = {
                **record, "identity": dict(identity), "shards": list(shards), "id": uuid.uuid4().hex[:12],
                "state": "running", "command": sys.argv, "versions": results.library_versions(),
            }  # fmt: skip
            self.stale = self.manifest.forget()
            return False
        refuse_changed(self.path, earlier["identity"], json.loads(json.dumps(results.without_nan(identity))))
        self.record, self.begun = earlier, True
        self.write_log()
        if earlier.get("state") == "finished" and {SUMMARY, REPORT} <= set(self.manifest.files):
            if not self.manifest.damaged():
                return True
            self.say(f"made again: {', '.join(self.manifest.damaged())}")
        self.update(state="running")
        return False

    def update(self, **entries: Any) -> None:
        """Add to `run.json`."""
        self.record = {**self.record, **entries}
        results.write_json(self.path / RUN, self.record)

    def begin(self) -> None:
        """Put the run in the place of an earlier one, once."""
        if self.begun:
            return
        earlier = [*self.path.glob("*.nc"), *(self.path / name for name in (*self.stale, SUMMARY, REPORT))]
        self.manifest.write()
        if (self.path / RUN).exists():
            (self.path / LOG).unlink(missing_ok=True)
        self.update()
        for stale in earlier:
            stale.unlink(missing_ok=True)
        self.begun = True
        self.write_log()

    def made(self, name: str, compute: Callable[[], xr.Dataset]) -> xr.Dataset:
        """An analysis: read where it was made, else computed and saved."""
        return self.run.load(name) if self.manifest.intact(f"{name}.nc") else self.save(name, compute())

    def save(self, name: str, dataset: xr.Dataset) -> xr.Dataset:
        """Write an analysis, and give it as it will be read."""
        results.save(dataset, self.path / f"{name}.nc", self.begin)
        self.manifest.add(f"{name}.nc")
        share = results.provenance_of(dataset).get("batch_share")
        if share is not None and share != self.record.get("batch_share"):
            self.update(batch_share=share)
        return self.run.load(name)

    def together(self, name: str, make: Callable[[], tuple[Mapping[str, xr.Dataset], Any]]) -> Any:
        """Several analyses made at once, and what was found: read where all is there, else made and saved."""
        if self.manifest.intact(f"{name}.json"):
            record = self.run.read(f"{name}.json")
            if all(self.manifest.intact(f"{each}.nc") for each in record["datasets"]):
                return record["found"]
        datasets, found = make()
        for each, dataset in datasets.items():
            self.save(each, dataset)
        self.write(f"{name}.json", {"datasets": list(datasets), "found": found})
        return self.run.read(f"{name}.json")["found"]

    def write(self, name: str, value: Any) -> None:
        """Write plain data as JSON."""
        results.write_json(self.path / name, value, self.begin)
        self.manifest.add(name)

    def folder(self, name: str, fill: Callable[[Path], Any]) -> Path:
        """A folder of files: left where all were made, else filled."""
        target = self.path / name
        made = [each for each in self.manifest.files if each.startswith(f"{name}/")]
        if made and all(map(self.manifest.intact, made)):
            return target
        with tempfile.TemporaryDirectory(dir=self.path, prefix=f".{name}.", suffix=results.PARTIAL) as temporary:
            fill(Path(temporary))
            self.begin()
            files = [file for file in sorted(Path(temporary).rglob("*")) if file.is_file()]
            moved = [target / file.relative_to(temporary) for file in files]
            for file, place in zip(files, moved, strict=True):
                writable_folder(place.parent)
                file.replace(place)
                results.flush(place.parent)
        self.manifest.add(*(str(place.relative_to(self.path)) for place in moved))
        return target

    def keep_part(self, name: str, made: Made) -> None:
        """A shard of an analysis that was written."""
        self.begin()
        self.manifest.parts[name] = made
        self.manifest.write()

    def drop_parts(self, names: Sequence[str]) -> None:
        """Shards whose analysis is whole."""
        for name in names:
            self.manifest.parts.pop(name, None)
        self.manifest.write()
        for name in names:
            self.parts.remove(name)

    def finish(self, summary: Mapping[str, Any], report: Callable[[Run], Any]) -> Run:
        """Write the summary and the report, and say that the run is whole."""
        self.write(SUMMARY, summary)
        report(self.run)
        self.manifest.add(REPORT)
        rmtree(self.path / PARTS, ignore_errors=True)
        self.update(state="finished")
        self.say("finished")
        return self.run


def read_json(file: Path) -> dict[str, Any] | None:
    """A JSON object, or None where there is none or it is torn."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
