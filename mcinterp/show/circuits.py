"""circuitsvis components as data for a page that carries their JavaScript once.

CircuitsVis' own HTML loads its script from a CDN or repeats 1.3 MB a component, in a div that HTML leaves open; here a
component is its name and properties, and the page calls `CircuitsVis.render` on a closed div. Tokens are escaped,
since the components set them as HTML.
"""

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import circuitsvis
import numpy as np
import xarray as xr

from mcinterp.errors import InputError
from mcinterp.landmarks import final_distribution

Component = dict[str, Any]


def javascript() -> str:
    """The CircuitsVis bundle, safe inside a script element."""
    bundle = Path(circuitsvis.__file__).parent / "dist" / "cdn" / "iife.js"
    source = bundle.read_text(encoding="utf-8").partition("\n//# sourceMappingURL")[0]
    return source.replace("</script", "<\\/script")


def shown(token: str) -> str:
    """A token as text for a component that would take it for HTML."""
    return html.escape(token)


def plain(token: str) -> str:
    """A token for a component that sets it now as HTML and now as text: angle brackets become look-alikes."""
    return token.replace("<", "‹").replace(">", "›")


def same_length(tokens: Sequence[str], values: np.ndarray) -> None:
    """Refuse values that are not one a token."""
    if len(tokens) != len(values):
        raise InputError(f"got {len(tokens)} tokens and {len(values)} values; one value a token is wanted.")


def colored_tokens_multi(tokens: Sequence[str], values: np.ndarray, labels: Sequence[str]) -> Component:
    """Tokens coloured by one of several values between 0 and 1 (token by label), chosen by the reader."""
    same_length(tokens, values)
    bounds = {"positiveBounds": [1.0] * len(labels), "negativeBounds": [0.0] * len(labels)}
    props = {"tokens": [shown(t) for t in tokens], "values": rounded(values), "labels": list(labels), **bounds}
    return {"component": "ColoredTokensMulti", "props": props}


def attention_heads(tokens: Sequence[str], attention: np.ndarray, names: Sequence[str]) -> Component:
    """Attention patterns (head by query by key) as small maps, one shown in full."""
    same_length(tokens, attention[0])
    props = {
        "tokens": [plain(t) for t in tokens],
        "attention": rounded(attention),
        "attentionHeadNames": list(names),
        "maxValue": 1,
        "minValue": 0,
        "maskUpperTri": True,
    }
    return {"component": "AttentionHeads", "props": props}


def rounded(values: np.ndarray) -> Any:
    """Three decimals, missing values as zero: pictures need no more, and pages stay small."""
    return np.round(np.nan_to_num(np.asarray(values, dtype=float)), 3).tolist()


def token_probabilities(lens: xr.Dataset, prompt: int) -> Component:
    """The tokens of a prompt and its completion, coloured by the probability each stage gave to them.

    The first token has no probability and is shown as 0.
    """
    one = final_distribution(lens.isel(prompt=prompt))
    one = one.sel(position=one["token_id"] >= 0)
    given = np.exp(one["next_log_prob"].transpose("position", "stage").values[:-1])
    values = np.vstack([np.zeros((1, given.shape[1])), given])
    return colored_tokens_multi(
        one["token"].values.tolist(), values, [f"p({s})" for s in lens["stage"].values.tolist()]
    )


def attention_of(attention: xr.Dataset, prompt: int, stage: str, layer: int) -> Component:
    """The heads of one layer of one stage on one prompt."""
    size = int(attention["n_tokens"].sel(prompt=prompt))
    pattern = attention["attention"].sel(prompt=prompt, stage=stage, layer=layer).values[:, :size, :size]
    tokens = attention["token"].sel(prompt=prompt).values[:size].tolist()
    return attention_heads(tokens, pattern, [f"L{layer}H{head}" for head in range(len(pattern))])
