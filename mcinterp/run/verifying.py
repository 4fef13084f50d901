"""Whether a run is whole: every file as it was written, every dataset of what the run says it is of."""

from collections.abc import Iterator
from typing import Any

from mcinterp.errors import InputError
from mcinterp.results import load, provenance_of
from mcinterp.run.directory import RUN, Run
from mcinterp.run.manifest import Manifest

OF_ALL_PROMPTS = {
    "completions", "lens", "landmarks", "onset", "attention", "patch", "logits", "update", "grafts", "shapley",
    "entropy_split", "temperature", "screen",
}  # fmt: skip


def verified(run: Run) -> Iterator[str]:
    """One line a file, once it is found right. Raises `InputError` at the first that is not."""
    record, manifest = run.read(RUN), Manifest(run.path)
    if not manifest.files:
        raise InputError(f"run {str(run.path)!r} has no file in its manifest; make it again with --replace.")
    for name, made in sorted(manifest.files.items()):
        if not (run.path / name).is_file():
            raise wrong(run, name, "is not there")
        if not manifest.intact(name):
            raise wrong(run, name, f"is not as it was written (its SHA-256 should begin with {made.sha256[:12]})")
        if name.endswith(".nc"):
            refuse_strange(run, name, record)
        yield f"{made.sha256[:12]}  {made.bytes:>12,}  {name}"
    if record.get("state") != "finished":
        raise InputError(f"run {str(run.path)!r} did not finish; continue it with --resume.")


def refuse_strange(run: Run, name: str, record: dict[str, Any]) -> None:
    """Refuse a dataset of other checkpoints or other tokens than the run's."""
    made = provenance_of(load(run.path / name))
    known = {(each["name"], each["spec"], each["commit"]) for each in record.get("checkpoints", [])}
    for each in made.get("checkpoints", []):
        if (each["name"], each["spec"], each["commit"]) not in known:
            raise wrong(run, name, f"is of checkpoint {each['spec']!r}, which {RUN} does not name")
    tokens = {record.get(key) for key in ("token_ids_sha256", "completed_token_ids_sha256")}
    found = made.get("token_ids_sha256")
    if name.removesuffix(".nc") in OF_ALL_PROMPTS and found is not None and found not in tokens:
        raise wrong(run, name, f"is of other tokens than {RUN} names")


def wrong(run: Run, name: str, what: str) -> InputError:
    """The sentence about a file that is not right."""
    return InputError(f"{run.path / name} {what}; make it again with --resume.")
