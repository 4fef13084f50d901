"""What every prompt of a battery is, as coordinates of a result; one a rendering, as prompts are rendered."""

from typing import Any

import numpy as np

from mcinterp.prompts import Prompts
from mcinterp.rendering import RenderedPrompts


def genres_of(prompts: Prompts, rendered: RenderedPrompts) -> list[str]:
    """The genre of every prompt; `all` where the battery names none."""
    return [str(prompts.items[index].metadata.get("genre", "all")) for index in rendered.prompt_index]


def held_out_of(prompts: Prompts, rendered: RenderedPrompts) -> list[bool]:
    """Whether the battery holds a prompt out."""
    return [bool(prompts.items[index].metadata.get("held_out", False)) for index in rendered.prompt_index]


def prompt_labels(prompts: Prompts, rendered: RenderedPrompts) -> dict[str, Any]:
    """Number, text, template, genre and side of every prompt."""
    return {
        "prompt": np.arange(len(rendered)),
        "text": ("prompt", list(rendered.texts)),
        "template": ("prompt", list(rendered.templates)),
        "genre": ("prompt", genres_of(prompts, rendered)),
        "held_out": ("prompt", held_out_of(prompts, rendered)),
    }
