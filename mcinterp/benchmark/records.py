"""What methods answered on one planted checkpoint, as one JSON file that a later run adds to.

A file is kept for as long as the plant's weights, prompts and truths are the same. It holds raw answers alone: they are
judged when it is read.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mcinterp.benchmark.case import Answer
from mcinterp.checkpoints import Checkpoint, parse_chain
from mcinterp.organisms.plants.record import Plant, Task
from mcinterp.results import write_json

WEIGHTS = ("*.safetensors", "*.bin", "config.json", "adapter_config.json")
Record = dict[str, Any]


def record_path(out: str | Path, plant: Plant) -> Path:
    """Where a plant's answers lie."""
    return Path(out) / "answers" / f"{plant.name}.json"


def fingerprint(root: str | Path, plant: Plant) -> str:
    """SHA-256 over both checkpoints' weights and configuration, and over every task's prompts and truth."""
    digest = hashlib.sha256()
    for checkpoint in parse_chain(list(plant.specs(root))):
        for file in weight_files(checkpoint):
            digest.update(file.name.encode())
            digest.update(file.read_bytes())
    for task in plant.tasks:
        digest.update(repr((task.name, *expected(task).items())).encode())
        digest.update(plant.prompt_file(root, task).read_bytes())
    return digest.hexdigest()


def weight_files(checkpoint: Checkpoint) -> list[Path]:
    """Files of a checkpoint that say what it computes, the adapter's after the base's."""
    folders = [Path(checkpoint.location), *([checkpoint.adapter] if checkpoint.adapter else [])]
    return [file for folder in folders for pattern in WEIGHTS for file in sorted(folder.glob(pattern))]


def expected(task: Task) -> dict[str, Any]:
    """What is true of a task."""
    return {"truth": list(task.truth), "verdict": task.verdict, "upstream": bool(task.upstream)}


def fresh(plant: Plant, mark: str) -> Record:
    """A plant's record without any answer."""
    about = {name: getattr(plant, name) for name in ("name", "kind", "half", "seed")}
    tasks = {task.name: {**expected(task), "components": [], "answers": {}} for task in plant.tasks}
    return {"plant": about, "fingerprint": mark, "tasks": tasks}


def opened(out: str | Path, plant: Plant, mark: str) -> Record:
    """The answers that a plant has already, or none of them where the plant or its truths have changed since."""
    file = record_path(out, plant)
    found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return found if found.get("fingerprint") == mark else fresh(plant, mark)


def lacking(record: Record, task: str, methods: Sequence[str], again: Sequence[str] = ()) -> list[str]:
    """Methods that have not answered on a task, and those that are to answer again."""
    return [name for name in methods if name in again or name not in record["tasks"][task]["answers"]]


def entry(answer: Answer, components: Sequence[str], seconds: float) -> Record:
    """An answer as plain data, scores in the order of components."""
    scores = [answer.scores[name] for name in components]
    return {"seconds": seconds, "scores": scores, "verdict": answer.verdict, "upstream": answer.upstream}


def keep(out: str | Path, plant: Plant, record: Record) -> Path:
    """Write a plant's record, whole or not at all."""
    file = record_path(out, plant)
    file.parent.mkdir(parents=True, exist_ok=True)
    return write_json(file, record)
