"""Patching by the book: a full forward pass of a bridge under hooks for every patched run, and nothing shared."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from conftest import Build
from mcinterp.chain import Chain, Stage, load_pair

RESIDUAL = ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out")
BY_HEAD = ("q", "k", "v", "z", "pattern")
HOOKS = {site: f"blocks.{{}}.hook_{site}" for site in RESIDUAL} | {
    **{site: f"blocks.{{}}.attn.hook_{site}" for site in BY_HEAD},
    "mlp_post": "blocks.{}.mlp.hook_post",
    "final_scale": "ln_final.hook_scale",
}
ENDS = {"base_to_tuned": (0, -1), "tuned_to_base": (-1, 0)}
NATS = ("entropy", "attractor_log_prob", "attractor_log_odds", "kl_to_donor", "kl_to_recipient")
BARE: dict[str, Any] = {"controls": False, "interaction": False}

Given = Mapping[str, torch.Tensor]


@cache
def pair_at(base: Path, tuned: Path) -> Chain:
    """A pair, loaded once."""
    return load_pair(str(base), str(tuned), names=["base", "tuned"])


def tiny_pair(tiny: Build, architecture: str) -> Chain:
    """A tiny pair of an architecture."""
    return pair_at(tiny(architecture), tiny(architecture, "tuned"))


def encoded(chain: Chain, text: str) -> list[int]:
    """Tokens of a raw prompt."""
    return chain.base.tokenizer(text).input_ids


def sites_of(stage: Stage) -> list[str]:
    """Sites that an architecture has; blocks with parallel attention and MLP have no residual between them."""
    return [site for site in HOOKS if site != "resid_mid" or not stage.bridge.cfg.parallel_attn_mlp]


@torch.inference_mode()
def activations(stage: Stage, ids: Sequence[int]) -> Given:
    """Everything that a stage computes on a sequence, by hook name."""
    return stage.bridge.run_with_cache(torch.tensor([list(ids)]))[1]


@torch.inference_mode()
def log_probs(stage: Stage, ids: Sequence[int], hooks: Sequence[tuple[str, Callable]] = ()) -> torch.Tensor:
    """Log-probabilities at every column."""
    return stage.bridge.run_with_hooks(torch.tensor([list(ids)]), fwd_hooks=list(hooks))[0].log_softmax(-1)


def putting(
    name: str, given: torch.Tensor, columns: Sequence[int], part: Sequence[int] | None = None
) -> tuple[str, Callable]:
    """A hook that replaces an activation at some columns (and heads or neurons) by another of the same shape."""

    def put(activation: torch.Tensor, hook: Any) -> torch.Tensor:
        new = activation.clone()
        for column in columns:
            if name.endswith("pattern"):
                for head in range(new.shape[1]) if part is None else part:
                    new[0, head, column] = given[0, head, column]
            elif part is None:
                new[0, column] = given[0, column]
            else:
                for index in part:
                    new[0, column, index] = given[0, column, index]
        return new

    return name, put


def patched(
    recipient: Stage,
    ids: Sequence[int],
    given: Given,
    sites: Sequence[str],
    layers: Sequence[int],
    columns: Sequence[int],
    part: Sequence[int] | None = None,
) -> torch.Tensor:
    """Log-probabilities of a run whose sites are replaced in some layers, at every column."""
    names = dict.fromkeys(HOOKS[site].format(layer) for site in sites for layer in layers)
    hooks = [putting(name, given[name], columns, part) for name in names]
    return log_probs(recipient, ids, [*streams(recipient, names, given, columns), *hooks])


def streams(recipient: Stage, names: Sequence[str], given: Given, columns: Sequence[int]) -> list[tuple[str, Callable]]:
    """For every patch of the stream inside a layer, what makes the stream behind the layer follow it.

    The hook there is on what the MLP reads. The stream is what came out of attention plus what went in.
    """
    found: list[tuple[str, Callable]] = []
    for name in [name for name in names if name.endswith("resid_mid")]:
        entered: dict[str, torch.Tensor] = {}

        def enter(activation: torch.Tensor, hook: Any, entered: dict = entered, name: str = name) -> torch.Tensor:
            entered["own"] = activation.clone()
            return activation

        def leave(activation: torch.Tensor, hook: Any, entered: dict = entered, name: str = name) -> torch.Tensor:
            new = activation.clone()
            for column in columns:
                new[0, column] += given[name][0, column] - entered["own"][0, column]
            return new

        found += [(name, enter), (name.replace("resid_mid", "resid_post"), leave)]
    return found


def measures(
    q: torch.Tensor, donor: torch.Tensor, recipient: torch.Tensor, base: torch.Tensor, attractor: int
) -> dict[str, float]:
    """The built-in metrics of a distribution, by `torch.distributions` and plain loops."""
    p, d, r = (torch.distributions.Categorical(logits=each.double()) for each in (q, donor, recipient))
    others = [i for i in base.argsort(descending=True).tolist() if i != attractor]
    share = base.double().exp()[others]
    share = share / share.sum()
    count = int((share.cumsum(0) < 0.9).sum()) + 1
    return {
        "entropy": float(p.entropy()),
        "attractor_log_prob": float(q[attractor]),
        "attractor_log_odds": float(q[attractor] - q[others[:count]].logsumexp(0)),
        "kl_to_donor": float(torch.distributions.kl_divergence(p, d)),
        "kl_to_recipient": float(torch.distributions.kl_divergence(p, r)),
        "top_token": int(q.argmax()),
    }


def assert_reads(cell: xr.Dataset, q: torch.Tensor, ends: Mapping[str, torch.Tensor], *, atol: float = 1e-4) -> None:
    """One cell of a result against the distribution it should have been read from."""
    attractor = int(ends["tuned"].argmax())
    expected = measures(q, ends["donor"], ends["recipient"], ends["base"], attractor)
    assert int(cell["attractor"]) == attractor
    for name, value in expected.items():
        assert float(cell[name]) == pytest.approx(value, abs=atol), (name, dict(cell.coords))


def ends_at(chain: Chain, direction: str, ids: Sequence[int], column: int = -1) -> dict[str, torch.Tensor]:
    """The clean distributions that a patched one is read beside."""
    base, tuned = (log_probs(chain.stages[end], ids)[column] for end in (0, -1))
    donor, recipient = (tuned, base) if direction == "tuned_to_base" else (base, tuned)
    return {"base": base, "tuned": tuned, "donor": donor, "recipient": recipient}


def assert_equals_reference(
    chain: Chain,
    result: xr.Dataset,
    texts: Sequence[str],
    columns: Callable[[list[int]], Sequence[int]] = lambda ids: [len(ids) - 1],
    *,
    window: int = 1,
    neurons: Sequence[int] | None = None,
) -> int:
    """Every cell of a result without control, position or read axis against one forward pass; gives how many."""
    count = 0
    for prompt, text in enumerate(texts):
        ids = encoded(chain, text)
        for direction in result["direction"].values.tolist():
            donor, recipient = (chain.stages[end] for end in ENDS[direction])
            given, ends = activations(donor, ids), ends_at(chain, direction, ids)
            cells = result.isel(prompt=prompt).sel(direction=direction)
            for site, layer, head in grid(cells):
                cell = cells.sel(site=site, layer=layer, **({} if head is None else {"head": head}))
                single = [part for each in site.split("+") for part in {"kv": ("k", "v")}.get(each, (each,))]
                part = [head] if head is not None else neurons if site == "mlp_post" else None
                if exists(recipient, site, layer, head):
                    layers = range(layer, layer + window)
                    q = patched(recipient, ids, given, single, layers, columns(ids), part)
                    assert_reads(cell, q[-1], ends)
                    count += 1
                else:
                    assert np.isnan(cell["entropy"])
    return count


def grid(cells: xr.Dataset) -> list[tuple[str, int, int | None]]:
    """Site, layer and head of every cell."""
    heads = cells["head"].values.tolist() if "head" in cells.dims else [None]
    sites, layers = cells["site"].values.tolist(), cells["layer"].values.tolist()
    return [(site, layer, head) for site in sites for layer in layers for head in heads]


def exists(stage: Stage, site: str, layer: int, head: int | None) -> bool:
    """Whether a stage has a cell: the final norm stands behind the last layer, keys and values have fewer heads."""
    keys = int(stage.bridge.cfg.n_key_value_heads or stage.bridge.cfg.n_heads)
    if site == "final_scale" and layer < stage.n_layers - 1:
        return False
    return head is None or head < keys or site not in ("k", "v", "kv")
