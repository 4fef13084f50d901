"""Charts as files: still ones without a browser or a network, and pages that hold their scripts."""

from pathlib import Path
from typing import Any

PNG_SCALE = 2


def save_still(chart: Any, folder: str | Path, name: str) -> list[Path]:
    """Write a chart as `name.svg` and, at twice the size, `name.png`."""
    written = [Path(folder) / f"{name}.{suffix}" for suffix in ("svg", "png")]
    chart.save(written[0])
    chart.save(written[1], scale_factor=PNG_SCALE)
    return written


def save_page(chart: Any, path: str | Path) -> None:
    """Write a chart that is picked from as an HTML file that needs no network.

    It is drawn on a canvas: Vega's SVG renderer does not draw again what a double click sets back.
    """
    chart.save(path, inline=True, embed_options={"renderer": "canvas"})
