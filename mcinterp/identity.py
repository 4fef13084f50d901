"""What the numbers of a run depend on, as digests: a run is only resumed where all of it is the same as before."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import mcinterp
from mcinterp.chain import Chain
from mcinterp.checkpoints import Checkpoint
from mcinterp.rendering import RenderedPrompts
from mcinterp.results import library_versions

KEPT = {".safetensors", ".bin", ".pt", ".pth", ".json", ".model", ".txt", ".jinja", ".tiktoken"}
APART = {"show", "cli", "summary"}
BUDGETED = (
    "capture", "completions", "lens",
    "intervene.patching", "intervene.running", "intervene.stage_run", "intervene.sweep",
)  # fmt: skip
NOT_ASKED = {"shard_size", "placement", "memory"}
NAMED_FILES = ("prompts", "held_out", "controls", "donor_prompts", "tuned_lens")


def digest(checkpoint: Checkpoint) -> str:
    """What identifies the content of a checkpoint, and of its adapter, without loading any weight.

    SHA-256 over the weights, configuration and tokenizer of a directory; the commit and revision of one on a hub.
    """
    whole = hashlib.sha256()
    if Path(checkpoint.location).is_dir():
        whole.update(folder_digest(Path(checkpoint.location)).encode())
    else:
        whole.update(f"{checkpoint.location}@{checkpoint.revision} {checkpoint.commit}".encode())
    if checkpoint.adapter is not None:
        whole.update(folder_digest(Path(checkpoint.adapter)).encode())
    return whole.hexdigest()


def folder_digest(folder: Path) -> str:
    """SHA-256 over the names and contents of a checkpoint's files."""
    files = (file for file in folder.iterdir() if file.suffix in KEPT and file.is_file())
    return files_digest((file.name, file) for file in sorted(files))


def files_digest(named: Iterable[tuple[str, Path]]) -> str:
    """SHA-256 over names and contents of files, read as streams."""
    whole = hashlib.sha256()
    for name, file in named:
        with open(file, "rb") as handle:
            whole.update(f"{name} {hashlib.file_digest(handle, 'sha256').hexdigest()}\n".encode())
    return whole.hexdigest()


@cache
def measuring_version() -> str:
    """SHA-256 over everything of the library that measures: all but pictures, command line and summaries."""
    root = Path(mcinterp.__file__).parent
    files = [file for pattern in ("*.py", "*.jsonl") for file in root.rglob(pattern)]
    placed = sorted((file.relative_to(root), file) for file in files)
    return files_digest((str(place), file) for place, file in placed if place.parts[0] not in APART)


def prompts_digest(rendered: RenderedPrompts) -> str:
    """SHA-256 over the texts, groups and token ids of prompts."""
    told = (rendered.texts, rendered.token_ids, rendered.templates, rendered.renderings)
    return hashlib.sha256(repr(told).encode()).hexdigest()


def budgets() -> dict[str, int]:
    """How much is put into one batch, which moves numbers by rounding."""
    found: dict[str, int] = {}
    for name in BUDGETED:
        values = vars(import_module(f"mcinterp.{name}"))
        found |= {
            f"{name} {key}": value
            for key, value in sorted(values.items())
            if isinstance(value, int) and (key.endswith("_BYTES") or key.startswith("MOST_") or key == "GIGABYTE")
        }
    return found


def named_files(question: Mapping[str, Any]) -> dict[str, str]:
    """Digests of the files and folders that a question names."""
    found: dict[str, str] = {}
    for name in NAMED_FILES:
        path = Path(str(question.get(name) or "")).expanduser()
        if question.get(name) and path.exists():
            files = sorted(path.rglob("*")) if path.is_dir() else [path]
            found[name] = files_digest((str(file.relative_to(path)), file) for file in files if file.is_file())
    return found


def identity_of(question: Any, chain: Chain, rendered: RenderedPrompts, source: str) -> dict[str, Any]:
    """Everything that the numbers of a run depend on, most telling first."""
    asked = {name: value for name, value in asdict(question).items() if name not in NOT_ASKED}
    return {
        "question": {**asked, "prompts": source},
        "files": named_files(asked),
        "prompts": prompts_digest(rendered),
        "checkpoints": {stage.name: digest(stage.checkpoint) for stage in chain.stages},
        "revisions": {stage.name: stage.checkpoint.revision for stage in chain.stages},
        "device": {stage.name: stage.placed for stage in chain.stages},
        "dtype": {stage.name: str(stage.dtype).removeprefix("torch.") for stage in chain.stages},
        "budgets": budgets(),
        "versions": library_versions(),
        "measuring version": measuring_version(),
    }
