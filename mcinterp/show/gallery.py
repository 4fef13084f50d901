"""The pictures of a run as files, for papers and the README."""

from pathlib import Path
from typing import Any

import xarray as xr

from mcinterp.landmarks import most_changed_prompts
from mcinterp.results import made_folder
from mcinterp.run import Run
from mcinterp.show import figures, locate_figures, patch_figures
from mcinterp.show.attribution_figures import DRAWN
from mcinterp.show.behaviour import gallery as behaviour_gallery
from mcinterp.show.saving import save_still


def write_figures(run: Run, out: str | Path) -> list[Path]:
    """Write every picture of a run as SVG and PNG (at twice the size); neither browser nor network is used."""
    folder = made_folder(out, "give another --out")
    written: list[Path] = []
    for name, chart in pictures(run).items():
        written += save_still(chart, folder, name)
    return written


def pictures(run: Run) -> dict[str, Any]:
    """The charts of a run by name, of the analyses that it holds."""
    of_lens = lens_pictures(run.load("lens")) if run.holds("lens") else {}
    of_patch = patch_figures.pictures(run.load("patch")) if run.holds("patch") else {}
    made = {name: draw for name, draw in DRAWN.items() if run.holds(name)}
    return {
        **of_lens,
        **{f"patch_{name}": chart for name, chart in of_patch.items()},
        **{f"locate_{name}": chart for name, chart in locate_figures.pictures(run).items()},
        **{f"behaviour_{name}": chart for name, chart in behaviour_gallery.pictures(run).items()},
        **{f"attribution_{name}": draw(run.load(name)) for name, draw in made.items()},
    }


def lens_pictures(lens: xr.Dataset) -> dict[str, Any]:
    """Entropies by depth and position; the lens grid is that of the prompt that changed most."""
    by_depth = {
        f"entropy_by_depth_{name}": figures.entropy_by_depth(lens, lens_name=name)
        for name in lens["lens"].values.tolist()
    }
    prompt = most_changed_prompts(lens, 1)[0]
    return {
        **by_depth,
        "entropy_by_position": figures.entropy_by_position(lens),
        "lens_grid": figures.lens_grid(lens, prompt),
    }
