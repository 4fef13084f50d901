"""What panels of several pictures share: stages in their colours, and a panel's title."""

from typing import Any

import altair as alt

from mcinterp.show.theme import stage_scale


def colour(stages: list[str], orient: Any = None) -> alt.Color:
    """Stages in their colours, with a legend where a place for one is given."""
    legend = None
    if orient is not None:
        legend = alt.Legend(title=None, orient=orient, symbolOpacity=1, symbolType="circle", symbolSize=80)
    return alt.Color("stage:N", scale=stage_scale(stages), sort=stages, legend=legend)


def small(title: str) -> alt.TitleParams:
    """A panel's title."""
    return alt.TitleParams(title, fontSize=12, fontWeight="normal", frame="group")
