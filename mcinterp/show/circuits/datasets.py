"""Components of the library's own results: lens readings by token, and attribution by part."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from mcinterp.errors import InputError
from mcinterp.landmarks import final_distribution
from mcinterp.results import token_text
from mcinterp.show.circuits.component import Component, chosen
from mcinterp.show.circuits.tokens import (
    Choices,
    colored_tokens,
    colored_tokens_multi,
    lens_table,
    token_log_probs,
    widest,
)
from mcinterp.variables import variable

NEXT = "…"


def token_probabilities(lens: xr.Dataset, prompt: int) -> Component:
    """The tokens of a prompt and its completion, coloured by the probability each stage gave to them.

    The first token has no probability and is shown as 0.
    """
    one = final_distribution(chosen(lens, prompt=prompt))
    one = one.sel(position=one["token_id"] >= 0)
    given = np.exp(one["next_log_prob"].transpose("position", "stage").values[:-1])
    values = np.vstack([np.full((1, given.shape[1]), np.nan), given])
    labels = [f"p({s})" for s in lens["stage"].values.tolist()]
    return colored_tokens_multi(one["token"].values.tolist(), values, labels)


def token_alternatives(lens: xr.Dataset, prompt: int, stage: str) -> Component:
    """The tokens of a prompt and its completion, coloured by the log-probability that a stage gave to them.

    On hover the stage's most likely tokens in that place, by `token_log_probs`. Raises `InputError` for a prompt or
    stage that is not there, or where fewer than one token was read.
    """
    one = written(lens, prompt, stage)
    log_prob = one["next_log_prob"].values
    read = np.flatnonzero(np.isfinite(log_prob[:-1]))
    if not len(read):
        raise InputError(f"no token of prompt {prompt} was read before it; read the lens at more positions.")
    span = slice(int(read[0]), int(read[-1]) + 1)
    tokens = one["token"].values[span.start : span.stop + 1].tolist()
    caption = f"{stage}: probability of each token, given those before it"
    return token_log_probs(tokens, log_prob[span], alternatives_of(one, lens)[span], caption=caption)


def token_values(lens: xr.Dataset, prompt: int, stage: str, *, variable_name: str = "entropy") -> Component:
    """The tokens of a prompt and its completion, coloured by any reading of a stage's final distribution.

    `variable_name` is one over positions: entropy, min_entropy, kl_stage_to_base, js_stage_base, ... A token has the
    value of the distribution that it was drawn from, read one position before, with that distribution's most likely
    tokens on hover; the first has none, and a last one, …, stands for what would come next. All stages share one scale
    of colour. Raises `InputError` for
    what is not there.
    """
    chosen(lens, [variable_name])
    if "position" not in lens[variable_name].dims or lens[variable_name].dtype.kind != "f":
        raise InputError(f"{variable_name!r} is no number at each position; take entropy or another such reading.")
    one = written(lens, prompt, stage)
    values = np.concatenate([[np.nan], one[variable_name].values])
    bounds = widest(final_distribution(lens.sel(prompt=prompt))[variable_name].values)
    known = variable(variable_name)
    unit = known.unit if known else ""
    what = known.definition if known else variable_name
    return colored_tokens(
        [*one["token"].values.tolist(), NEXT],
        values,
        unit=unit,
        bounds=bounds,
        alternatives=[[], *alternatives_of(one, lens)],
        caption=f"{stage}: {what}, where each token was drawn; full colour at {bounds[1]:.2g} {unit}",
    )


def lens_readings(
    lens: xr.Dataset,
    prompt: int,
    stage: str,
    *,
    lens_name: str = "own",
    positions: Sequence[int] | None = None,
    site: str = "resid_post",
) -> Component:
    """What a stage would say next after every layer, at every position: `lens_table` of `logit_lens`.

    `positions` (all by default) are the dataset's, where 0 is the prompt's last token. The first row is what enters the
    first layer. Raises `InputError` for what is not there.
    """
    one = chosen(lens, ["top_token", "top_probability"], prompt=prompt, stage=stage, lens=lens_name)
    one = one.sel(position=one["token_id"] >= 0)
    for position in positions or ():
        chosen(one, position=position)
    one = one if positions is None else one.sel(position=list(positions))
    rows = [("in", chosen(one, site="resid_pre").isel(layer=0))]
    rows += [(str(layer), chosen(one, site=site).sel(layer=layer)) for layer in lens["layer"].values.tolist()]
    top = [alternatives_of(row, lens) for _, row in rows]
    depths = [name for name, row in rows]
    caption = f"{stage}: most likely next token read after each layer at each position ({lens_name} lens)"
    return lens_table(
        one["token"].values.tolist(), depths, top, positions=one["position"].values.tolist(), caption=caption
    )


def part_attribution(attribution: xr.Dataset, prompt: int, *, variable_name: str = "attribution") -> Component:
    """The parts of a model in order, coloured by what an attribution gives to each, by stage.

    For results over `component` (`update_attribution`, `direct_logit_attribution`, ...). Raises `InputError` for what
    is not there.
    """
    one = chosen(attribution, [variable_name, "component"], prompt=prompt)[variable_name]
    if set(one.dims) != {"stage", "component"}:
        raise InputError(f"{variable_name!r} lies over {list(one.dims)}; stage by component is wanted.")
    values = one.transpose("component", "stage").values
    unit = attribution[variable_name].attrs.get("units", "")
    return colored_tokens_multi(
        [f" {name} " for name in attribution["component"].values.tolist()],
        values,
        [f"{stage} ({unit})" if unit else stage for stage in attribution["stage"].values.tolist()],
        bounds=None,
    )


def written(lens: xr.Dataset, prompt: int, stage: str) -> xr.Dataset:
    """The final distribution of a stage at the tokens of a prompt."""
    one = final_distribution(chosen(lens, ["top_token", "top_probability"], prompt=prompt, stage=stage))
    return one.sel(position=one["token_id"] >= 0)


def alternatives_of(one: xr.Dataset, lens: xr.Dataset) -> list[Choices]:
    """The most likely tokens at each position with their probabilities; none where nothing was read."""
    names = token_text(lens)
    ids = one["top_token"].transpose("position", "choice").values.tolist()
    shares = one["top_probability"].transpose("position", "choice").values.tolist()
    return [
        [(names[i], p) for i, p in zip(row, chances, strict=True) if i >= 0 and np.isfinite(p)]
        for row, chances in zip(ids, shares, strict=True)
    ]
