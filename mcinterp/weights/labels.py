"""Labels of the axes that results about weights share."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mcinterp.sequences import Sequences
from mcinterp.weights.groups import Group


def component_labels(groups: Sequence[Group]) -> dict[str, Any]:
    """Coordinates of the axis `component`: name, site, layer and head, -1 where there is none."""
    return {
        "component": [group.name for group in groups],
        "site": ("component", [group.site for group in groups]),
        "layer": ("component", [-1 if group.layer is None else group.layer for group in groups]),
        "head": ("component", [-1 if group.head is None else group.head for group in groups]),
    }


def prompt_labels(sequences: Sequences) -> dict[str, Any]:
    """Coordinates of the axis `prompt`: number, text, template group and rendering."""
    prompts = sequences.prompts
    return {
        "prompt": np.arange(len(sequences)),
        "text": ("prompt", list(prompts.texts)),
        "template": ("prompt", list(prompts.templates)),
        "rendering": ("prompt", list(prompts.renderings)),
    }
