"""Where in a text, and where in depth, two stages part: named positions, onset of the gap, commitment.

Everything here works on the dataset of `mcinterp.lens.logit_lens`, without a model.
"""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from einops import rearrange
from jaxtyping import Bool, Float

from mcinterp.errors import InputError
from mcinterp.results import derived
from mcinterp.statistics import bootstrap, label_swaps, mean_over_prompts, percentile_ends

READ_AT = ("last", "widest", "completion")
DRAWS = 500
LEAST_GAP = 0.01


def final_distribution(lens: xr.Dataset) -> xr.Dataset:
    """Each stage's own next-token distribution: the last layer read by its own lens."""
    if "own" not in lens["lens"].values:
        raise InputError(f"the dataset was read by {lens['lens'].values.tolist()} only; read it by the lens 'own' too.")
    return lens.sel(lens="own", site="resid_post").isel(layer=-1)


def require_two(lens: xr.Dataset) -> None:
    """Refuse a dataset of one stage, which leaves nothing to compare."""
    if lens.sizes["stage"] < 2:
        raise InputError("got a lens of one stage, which leaves nothing to compare; read a base and a tuned one.")


def landmark_positions(lens: xr.Dataset) -> xr.Dataset:
    """The position of the widest entropy gap and the first one where greedy choices part, for every prompt.

    Over `stage` (all but the base) and `prompt`: `widest_position` and `widest_gap` (nats, stage minus base, the most
    negative from the last prompt position on), `parting_position` (missing where the greedy choices never part) with
    the two tokens chosen there.
    """
    require_two(lens)
    final = (
        final_distribution(lens).sel(position=lens["position"] >= 0).drop_vars(["token", "token_id"], errors="ignore")
    )
    base, later = final.isel(stage=0, drop=True), final.isel(stage=slice(1, None))
    gap = later["entropy"] - base["entropy"]
    greedy, base_greedy = later["top_token"].isel(choice=0), base["top_token"].isel(choice=0)
    parts = (greedy != base_greedy) & (greedy >= 0)
    position = parts["position"]
    parting = position.where(parts).min("position")
    at = parting.fillna(0).astype(int)
    found = parting.notnull()
    marks = xr.Dataset(
        {
            "widest_position": gap.idxmin("position"),
            "widest_gap": gap.min("position"),
            "parting_position": parting,
            "parting_token": greedy.sel(position=at).where(found, -1).astype("int32"),
            "parting_token_base": base_greedy.sel(position=at).where(found, -1).astype("int32"),
        }
    ).drop_vars(["position", "layer", "site", "lens"], errors="ignore")
    return derived(marks, lens, analysis="landmark_positions")


def most_changed_prompts(lens: xr.Dataset, count: int) -> list[int]:
    """Prompts to look at: in each template the one whose entropy falls most in the last stage, most changed first.

    Where `count` exceeds the templates, the next most changed prompts of any template follow.
    """
    gap = landmark_positions(lens)["widest_gap"].isel(stage=-1).values
    templates = lens["template"].values.tolist()
    order = np.argsort(gap, kind="stable").tolist()
    seen: set[str] = set()
    best = [i for i in order if templates[i] not in seen and not seen.add(templates[i])]
    return [*best, *(i for i in order if i not in set(best))][:count]


def depth_curve(values: xr.DataArray) -> xr.DataArray:
    """Values over `layer` and `site` as one axis `depth` of unique points: 0_pre, 0_mid, 0_post, 1_mid, ..."""
    layers = values.sizes["layer"]
    cells = [(0, "resid_pre"), *((layer, site) for layer in range(layers) for site in ("resid_mid", "resid_post"))]
    read = values >= 0 if values.dtype.kind == "i" else values.notnull()
    present = [(layer, site) for layer, site in cells if bool(read.sel(layer=layer, site=site).any())]
    names = [f"{layer}_{site.removeprefix('resid_')}" for layer, site in present]
    columns = [values.sel(layer=layer, site=site, drop=True) for layer, site in present]
    return xr.concat(columns, dim=xr.DataArray(names, dims="depth", name="depth"), coords="minimal", compat="override")


def gap_by_depth(lens: xr.Dataset, read_at: str, *, swapped: bool = False) -> xr.DataArray:
    """Entropy of each later stage minus the base's, by prompt and depth.

    `read_at`: `last` is the last prompt position, `widest` the position from there on where the gap of the final
    distributions is most negative, `completion` the mean over those positions. `swapped` exchanges the labels of stage
    and base before anything is chosen, so that what `widest` picks is as much in favour of the swapped labels.
    """
    gap = lens["entropy"].isel(stage=slice(1, None)) - lens["entropy"].isel(stage=0, drop=True)
    gap = (-gap if swapped else gap).sel(position=lens["position"] >= 0)
    if read_at == "last":
        gap = gap.sel(position=0, drop=True)
    elif read_at == "completion":
        gap = gap.mean("position")
    else:
        final = gap.sel(lens="own", site="resid_post").isel(layer=-1)
        gap = gap.sel(position=final.idxmin("position").drop_vars(["lens", "site", "layer"]))
    return depth_curve(gap)


def onset_of(curve: Float[np.ndarray, "*rest depth"], share: float = 0.5) -> Float[np.ndarray, "*rest"]:
    """First depth from which a gap stays above a share of its final value; missing for a final gap under 0.01 nats."""
    final = curve[..., -1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        above = curve / final >= share
    return np.where(np.abs(final[..., 0]) < LEAST_GAP, np.nan, first_kept(above))


def first_kept(holds: Bool[np.ndarray, "*rest depth"]) -> Float[np.ndarray, "*rest"]:
    """First index from which a condition holds up to the end; missing where it does not hold at the end."""
    kept = np.flip(np.logical_and.accumulate(np.flip(holds, -1), axis=-1), -1)
    return np.where(kept[..., -1], kept.argmax(axis=-1), np.nan).astype(float)


def onset(lens: xr.Dataset, *, draws: int = DRAWS, seed: int = 0) -> xr.Dataset:
    """Onset of the entropy gap under every lens, with intervals over templates and a label-swap null.

    Over `read_at`, `lens`, `stage` (all but the base): the mean gap by `depth` with its interval and the p-value of
    a null that swaps the labels base and tuned of whole templates; `onset` (index into `depth`) with its interval,
    and the interval of what the null finds. An onset means nothing where `p_value` of the last depth is large.
    """
    require_two(lens)
    pieces = [onset_read_at(lens, read_at, draws, seed) for read_at in READ_AT]
    dataset = xr.concat(pieces, dim=xr.DataArray(list(READ_AT), dims="read_at", name="read_at"))
    return derived(dataset, lens, analysis="onset", draws=draws, seed=seed)


def onset_read_at(lens: xr.Dataset, read_at: str, draws: int, seed: int) -> xr.Dataset:
    """Onset for one place of reading."""
    order = ("prompt", "lens", "stage", "depth")
    gap, swapped = (gap_by_depth(lens, read_at, swapped=s).transpose(*order) for s in (False, True))
    values, groups = gap.values.astype(float), lens["template"].values.tolist()
    mean = bootstrap(values, groups, draws=draws, seed=seed)
    first = bootstrap(values, groups, lambda v: onset_of(mean_over_prompts(v)), draws=draws, seed=seed)
    kept = label_swaps(groups, draws=draws, seed=seed)[..., None, None, None] > 0
    null = np.stack([mean_over_prompts(np.where(keep, values, swapped.values)) for keep in kept])
    p_value = (1 + (np.abs(null) >= np.abs(mean.mean)).sum(axis=0)) / (1 + draws)
    null_low, null_high = percentile_ends(onset_of(null), 0.95)
    curve, point = ("lens", "stage", "depth"), ("lens", "stage")
    return xr.Dataset(
        {
            "gap": (curve, mean.mean),
            "gap_low": (curve, mean.low),
            "gap_high": (curve, mean.high),
            "p_value": (curve, p_value),
            "onset": (point, first.mean),
            "onset_low": (point, first.low),
            "onset_high": (point, first.high),
            "onset_null_low": (point, null_low),
            "onset_null_high": (point, null_high),
        },
        coords={name: gap[name].values for name in curve},
    )


def commitment(lens: xr.Dataset, *, position: int = 0, draws: int = DRAWS, seed: int = 0) -> xr.Dataset:
    """Commitment depth: the first depth from which the lens' top token is the stage's final one and stays so.

    Over `lens`, `stage` and `prompt` (index into `depth`), with the mean over prompts and its interval.
    """
    top = lens["top_token"].isel(choice=0).sel(position=position, drop=True)
    tokens = depth_curve(top.where(top >= 0)).transpose("lens", "stage", "prompt", "depth")
    final = final_distribution(lens)["top_token"].isel(choice=0).sel(position=position).transpose("stage", "prompt")
    depth = first_kept(tokens.values == final.values[None, :, :, None])
    groups = lens["template"].values.tolist()
    mean = bootstrap(rearrange(depth, "lens stage prompt -> prompt lens stage"), groups, draws=draws, seed=seed)
    dims = ("lens", "stage")
    return xr.Dataset(
        {
            "commitment": ((*dims, "prompt"), depth),
            "commitment_mean": (dims, mean.mean),
            "commitment_low": (dims, mean.low),
            "commitment_high": (dims, mean.high),
        },
        coords={name: tokens[name].values for name in (*dims, "prompt", "depth")},
    )


def depth_name(depths: Sequence[str], index: float) -> tuple[int | None, str | None]:
    """Layer and site of an index into `depth`; nothing where it is missing."""
    if not np.isfinite(index):
        return None, None
    layer, site = depths[round(index)].split("_")
    return int(layer), f"resid_{site}"


def mean_entropy(lens: xr.Dataset, *, draws: int = 1000, seed: int = 0) -> dict[str, dict[str, dict[str, float]]]:
    """Mean entropy at the last prompt position of every stage, and of stage minus base, with their intervals."""
    final = final_distribution(lens)["entropy"].sel(position=0).transpose("prompt", "stage")
    values, groups = final.values.astype(float), lens["template"].values.tolist()
    names = final["stage"].values.tolist()
    each = bootstrap(values, groups, draws=draws, seed=seed)
    gaps = bootstrap(values[:, 1:] - values[:, :1], groups, draws=draws, seed=seed)
    return {
        "stages": {name: each.at(i) for i, name in enumerate(names)},
        "differences": {name: gaps.at(i) for i, name in enumerate(names[1:])},
    }


def mean_entropy_by_rendering(lens: xr.Dataset) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """The same for raw prompts and for the chat template apart, where both were asked for."""
    renderings = list(dict.fromkeys(lens["rendering"].values.tolist()))
    return {name: mean_entropy(lens.sel(prompt=lens["rendering"] == name)) for name in renderings}
