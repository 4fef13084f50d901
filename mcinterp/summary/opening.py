"""What every run's summary begins with."""

from collections.abc import Mapping, Sequence
from typing import Any

from mcinterp.rendering import RenderedPrompts


def opening_summary(stages: Sequence[str], rendered: RenderedPrompts, alignment: Mapping[str, Any]) -> dict[str, Any]:
    """What every run's summary begins with: stages, alignment, and one entry a prompt with its exact tokens."""
    keys = ("text", "template", "rendering", "tokens", "token_ids")
    columns = (rendered.texts, rendered.templates, rendered.renderings, rendered.tokens, rendered.token_ids)
    return {
        "stages": list(stages),
        "n_prompts": len(rendered),
        "alignment": alignment,
        "prompts": [dict(zip(keys, row, strict=True)) for row in zip(*columns, strict=True)],
    }
