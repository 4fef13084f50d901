"""The labelled dataset of a proof."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from mcinterp.verification.bench import KEPT, READ, Bench, Values
from mcinterp.verification.edits import Edit
from mcinterp.weights.labels import prompt_labels

WRITTEN = ("distinct", "sample_nll")


def labelled(bench: Bench, found: Mapping[Edit, Values]) -> xr.Dataset:
    """Measures of all edits with their labels; missing where an edit was not sampled."""
    data = {name: (("edit", "prompt"), stacked(found, name)) for name in (*READ, *WRITTEN)}
    if bench.kept is not None:
        data |= {name: (("edit", "control"), stacked(found, name)) for name in KEPT}
    return xr.Dataset(data, coords={**edit_labels(list(found)), **part_labels(bench), **control_labels(bench)})


def stacked(found: Mapping[Edit, Values], name: str) -> np.ndarray:
    """One measure over edits and prompts."""
    size = next(len(values[name]) for values in found.values() if name in values)
    missing = np.full(size, np.nan)
    return np.stack([values.get(name, missing) for values in found.values()]).astype(np.float32)


def edit_labels(edits: list[Edit]) -> dict[str, Any]:
    """Coordinates of the axis `edit`: its name, what kind it is, its sites, and its temperature."""
    return {
        "edit": [edit.name for edit in edits],
        "kind": ("edit", [edit.kind for edit in edits]),
        "sites": ("edit", [", ".join(edit.sites) for edit in edits]),
        "n_sites": ("edit", [len(edit.sites) for edit in edits]),
        "temperature": ("edit", [edit.temperature for edit in edits]),
    }


def part_labels(bench: Bench) -> dict[str, Any]:
    """Coordinates of the axis `prompt`, with the part that each prompt belongs to."""
    total = len(bench.sequences)
    parts = ["located"] * bench.located + ["held_out"] * (total - bench.located)
    return {**prompt_labels(bench.sequences), "part": ("prompt", parts)}


def control_labels(bench: Bench) -> dict[str, Any]:
    """Coordinates of the axis `control`: the prompt, its template, and the tuned stage's own answer."""
    if bench.answers is None:
        return {}
    answers = bench.answers
    return {
        "control": np.arange(len(answers)),
        "control_text": ("control", list(answers.prompts.texts)),
        "control_template": ("control", list(answers.prompts.templates)),
        "control_answer": ("control", ["".join(tokens) for tokens in answers.completion_tokens]),
    }
