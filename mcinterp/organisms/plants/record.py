"""What is known of a plant, on disk as ``plant.json``: its checkpoints, its tasks with their truth, its figures."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mcinterp.errors import InputError, first_line

RECORD_FILE = "plant.json"
VERDICTS = ("none", "localised", "redundant", "joint")
"""No collapse; one site holds it; each of two sites suffices (OR); both are needed (AND)."""

Figures = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Task:
    """A set of prompts and where their collapse sits.

    ``prompts`` names a JSON Lines file in the plant's folder, ``truth`` components of the model such as
    ``3.mlp``, ``embed`` or the head ``2.attn.1`` (empty if nothing collapsed), ``verdict`` is one of
    ``VERDICTS``, and ``upstream`` says that the site acts through positions before the answer only.
    ``favourites`` are the tokens that training favoured, one a group of prompts.
    """

    name: str
    prompts: str
    truth: tuple[str, ...]
    verdict: str
    upstream: bool = False
    favourites: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plant:
    """A pair of checkpoints whose truth is known.

    ``base`` and ``tuned`` are ``pocket:NAME``, a folder below the plants' root, or ``BASE+FOLDER`` for an
    adapter. ``figures`` holds numbers measured on the saved weights, task by task. ``collapsed`` says that
    the figures bear out the plant's claim (for negatives: that nothing collapsed); if not, ``note`` says why.
    """

    name: str
    kind: str
    half: str
    seed: int
    base: str
    tuned: str
    tasks: tuple[Task, ...]
    figures: Figures = field(default_factory=dict)
    collapsed: bool = False
    note: str = ""

    def specs(self, root: Path | str) -> tuple[str, str]:
        """The specs of base and tuned checkpoint, for plants that lie below ``root``."""
        return resolved(self.base, Path(root)), resolved(self.tuned, Path(root))

    def prompt_file(self, root: Path | str, task: Task) -> Path:
        """Where the prompts of a task lie."""
        return Path(root) / self.name / task.prompts


def resolved(spec: str, root: Path) -> str:
    """A stored spec with every folder below ``root``; shipped checkpoints stay as they are."""
    return "+".join(part if part.startswith("pocket:") else str(root / part) for part in spec.split("+"))


def write_plant(plant: Plant, folder: Path | str) -> None:
    """Write ``plant.json``; it appears at once or not at all."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f"{RECORD_FILE}.part"
    unfinished.write_text(json.dumps(asdict(plant), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    unfinished.replace(folder / RECORD_FILE)


def read_plant(folder: Path | str) -> Plant:
    """The plant of a folder.

    Raises:
        InputError: there is no ``plant.json``, or it is not what ``write_plant`` writes.
    """
    file = Path(folder) / RECORD_FILE
    if not file.is_file():
        raise InputError(f"folder {str(folder)!r} has no {RECORD_FILE}; give a plant's folder, or build it anew.")
    try:
        return plant_of(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{str(file)!r} is not the record of a plant ({first_line(error)}); build it anew.") from error


def plant_of(stored: dict[str, Any]) -> Plant:
    """The plant that a JSON object stands for."""
    tasks = tuple(task_of(task) for task in stored["tasks"])
    if unknown := [task.verdict for task in tasks if task.verdict not in VERDICTS]:
        raise ValueError(f"verdict {unknown[0]!r} is none of {', '.join(VERDICTS)}")
    return Plant(**{**stored, "tasks": tasks})


def task_of(stored: dict[str, Any]) -> Task:
    """The task that a JSON object stands for."""
    return Task(**{**stored, "truth": tuple(stored["truth"]), "favourites": tuple(stored["favourites"])})


def read_plants(root: Path | str, half: str | None = None) -> list[Plant]:
    """All whole plants below ``root`` by name, of one half or of both.

    Raises:
        InputError: there is none.
    """
    folders = sorted(file.parent for file in Path(root).glob(f"*/{RECORD_FILE}"))
    plants = [plant for plant in map(read_plant, folders) if half in (None, plant.half)]
    if not plants:
        wanted = f"plants of half {half!r}" if half else "plants"
        raise InputError(f"no {wanted} lie below {str(root)!r}; build them with python -m mcinterp.organisms.plants.")
    return plants
