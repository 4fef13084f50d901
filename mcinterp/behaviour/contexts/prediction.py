"""How well the base alone predicts which prompts a stage collapses on, on templates left out of the fit.

The gap is base minus stage, so the base's entropy is in it by construction: models with and without it stand apart.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from mcinterp.behaviour.contexts.regression import Features, held_out, standardised_slopes
from mcinterp.errors import InputError
from mcinterp.results import derived
from mcinterp.statistics import bootstrap

MODELS: dict[str, tuple[str, ...]] = {
    "surprise": ("base_surprise",),
    "copying": ("copyable_span", "copying_attention"),
    "question": ("is_question",),
    "length": ("n_tokens",),
    "frame": ("frame",),
    "genre": ("genre",),
    "all but entropy": (
        "base_surprise", "copyable_span", "copying_attention", "is_question", "n_tokens", "frame", "genre",
    ),
    "base entropy": ("base_entropy",),
    "all": (
        "base_surprise", "copyable_span", "copying_attention", "is_question", "n_tokens", "frame", "genre",
        "base_entropy",
    ),
}  # fmt: skip
STRENGTH = 1.0


def predict_gap(
    found: xr.Dataset,
    gap: str = "context_gap",
    *,
    models: Mapping[str, Sequence[str]] = MODELS,
    strength: float = STRENGTH,
    draws: int = 300,
    seed: int = 0,
) -> xr.Dataset:
    """The result of `contexts` with predictions of a gap, every template's from a fit to the other templates.

    Adds over `model, stage` (the base's are missing)`, prompt`: `predicted_gap` (nats), and over `stage, prompt`
    `guessed_gap`, the mean gap of the other templates. And over `stage, predictor`: `slope` (nats for one standard
    deviation of the predictor) of the last model, with the ends of its 95 % interval over templates.

    Raises:
        InputError: for a gap or predictor that the dataset lacks, or fewer than two templates.
    """
    for name in [gap, *(each for wanted in models.values() for each in wanted)]:
        if name not in found.variables:
            raise InputError(f"the dataset has no {name!r} to predict by; measure it with contexts(), or leave it out.")
    groups = found["template"].values.tolist()
    shape = (len(models), found.sizes["stage"], found.sizes["prompt"])
    predicted, guessed = np.full(shape, np.nan, np.float32), np.full(shape[1:], np.nan, np.float32)
    last, names = design(found, list(models.values())[-1])
    slopes = np.full((3, shape[1], len(names)), np.nan, np.float32)
    for stage in range(1, shape[1]):
        y = found[gap].transpose("stage", "prompt").values[stage].astype(float)
        for number, wanted in enumerate(models.values()):
            predicted[number, stage], guessed[stage] = held_out(design(found, wanted)[0], y, groups, strength)
        slopes[:, stage] = slope_interval(last, y, groups, strength, draws, seed)
    names_too = [f"slope{end}" for end in ("", "_low", "_high")]
    data = {name: (("stage", "predictor"), each) for name, each in zip(names_too, slopes, strict=True)}
    data |= {"predicted_gap": (("model", "stage", "prompt"), predicted), "guessed_gap": (("stage", "prompt"), guessed)}
    added = found.assign(data).assign_coords(model=list(models), predictor=names)
    return derived(added, found, predicted=gap, ridge=strength)


def slope_interval(
    x: Features, y: np.ndarray, groups: Sequence[str], strength: float, draws: int, seed: int
) -> np.ndarray:
    """Slopes and the ends of their intervals, fitted anew to every draw of templates."""
    rows = np.column_stack([x, y])
    interval = bootstrap(
        rows, groups, lambda drawn: standardised_slopes(drawn[:, :-1], drawn[:, -1], strength), draws=draws, seed=seed
    )
    return np.stack(interval)


def design(found: xr.Dataset, wanted: Sequence[str]) -> tuple[Features, list[str]]:
    """Columns of features and their names; words become one column a word, `genre=story`."""
    columns, names = [], []
    for name in wanted:
        values = found[name].values
        if values.dtype.kind in "UO":
            for word in dict.fromkeys(values.tolist()):
                columns.append((values == word).astype(float))
                names.append(f"{name}={word}")
        else:
            columns.append(values.astype(float))
            names.append(name)
    return np.stack(columns, axis=1), names
