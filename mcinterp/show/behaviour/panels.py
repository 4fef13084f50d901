"""What panels of several pictures share: stages in their colours."""

from typing import Any

import altair as alt

from mcinterp.show.marks import colours
from mcinterp.show.theme import stage_scale


def colour(stages: list[str], orient: Any = None) -> alt.Color:
    """Stages in their colours, with a legend where a place for one is given."""
    return colours("stage", stages, stage_scale(stages), orient=orient, legend=orient is not None)
