"""The prompts that a summary speaks of: of all genres together and of every genre, whole and held out."""

from typing import Any

import xarray as xr


def genres_in(dataset: xr.Dataset) -> list[tuple[str, xr.DataArray]]:
    """`all` with every prompt, and each genre with its own where there are several."""
    genre = dataset["genre"]
    names = list(dict.fromkeys(genre.values.tolist()))
    chosen = ["all", *(name for name in names if name != "all" and len(names) > 1)]
    return [(name, (genre == name) | (name == "all")) for name in chosen]


def whole_and_held_out(dataset: xr.Dataset, here: xr.DataArray, **attributes: Any) -> list[xr.Dataset]:
    """Some prompts, and those of them that are held out where there are any; the attribute `side` says which."""
    sides = (("all", here), ("held out", here & dataset["held_out"]))
    return [dataset.sel(prompt=kept).assign_attrs(side=side, **attributes) for side, kept in sides if bool(kept.any())]


def genre_cells(dataset: xr.Dataset) -> list[xr.Dataset]:
    """The prompts of all genres and of each, whole and held out; the attributes `cell` and `side` say which."""
    return [cell for genre, here in genres_in(dataset) for cell in whole_and_held_out(dataset, here, cell=genre)]


def heading(cell: xr.Dataset, stage: str) -> dict[str, Any]:
    """What an entry on a genre cell is about."""
    return {
        "genre": cell.attrs["cell"],
        "prompts": cell.attrs["side"],
        "stage": stage,
        "n_prompts": cell.sizes["prompt"],
        "n_templates": len(set(cell["template"].values.tolist())),
    }
