"""Where the blocks of a multiverse lie: block height is probability, and every stage has the same order of branches."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float

from mcinterp.behaviour.multiverse.views import node_texts
from mcinterp.show.figures import visible

SURE = 0.9


class Spans(NamedTuple):
    """The upper and lower end of every node, from 0 (top) to 1, and where its continuations in the tree end."""

    low: Float[np.ndarray, "stage node"]
    high: Float[np.ndarray, "stage node"]
    filled: Float[np.ndarray, "stage node"]


def spans(tree: xr.Dataset) -> Spans:
    """The span of every node under every stage.

    The continuations of a node lie in its span one below the other, in the order of their mean probability over all
    stages; what was cut off is the rest below the last.
    """
    share = np.exp(tree["node_log_prob"].transpose("stage", "node").values.astype(float))
    parents = tree["node_parent"].values
    low, used = np.zeros_like(share), np.zeros_like(share)
    order = np.lexsort((-share.mean(axis=0), tree["node_depth"].values))
    for node in order[1:].tolist():
        low[:, node] = low[:, parents[node]] + used[:, parents[node]]
        used[:, parents[node]] += share[:, node]
    return Spans(low, low + share, low + used)


def blocks(tree: xr.Dataset, least: float = 0.0) -> pd.DataFrame:
    """One row a node that has a probability of `least` or more under some stage, the empty one left out.

    Columns: `node`, `depth`, `token`, `so_far`, `ended`, and for stage number k `low_k`, `high_k`, `share_k` (of the
    node) and `next_k` (given the node before).
    """
    ends, texts, parents = spans(tree), node_texts(tree), tree["node_parent"].values
    logs = tree["node_log_prob"].transpose("stage", "node").values
    kept = [n for n in range(1, len(parents)) if np.exp(logs[:, n].max()) >= least]
    table: dict[str, Any] = {
        "node": kept,
        "depth": tree["node_depth"].values[kept],
        "token": [visible(token) for token in tree["node_token"].values[kept]],
        "so_far": [visible(texts[node]) for node in kept],
        "ended": tree["node_ended"].values[kept].astype(bool),
    }
    for k, log_prob in enumerate(logs):
        table |= {f"low_{k}": ends.low[k, kept], f"high_{k}": ends.high[k, kept], f"share_{k}": np.exp(log_prob[kept])}
        table[f"next_{k}"] = np.exp(log_prob[kept] - log_prob[parents[kept]])
    return pd.DataFrame(table)


def gaps(tree: xr.Dataset, least: float = 0.0) -> pd.DataFrame:
    """One row a node of which `least` or more was cut off under some stage: `depth` of what is missing, its ends."""
    ends, cut = spans(tree), tree["node_cut"].transpose("stage", "node").values
    kept = np.flatnonzero((cut.max(axis=0) >= least) & (cut.max(axis=0) > 0))
    table: dict[str, Any] = {"depth": tree["node_depth"].values[kept] + 1}
    for k in range(len(cut)):
        table |= {f"low_{k}": ends.filled[k, kept], f"high_{k}": ends.filled[k, kept] + cut[k, kept]}
    return pd.DataFrame(table)


def runs(tree: xr.Dataset, stage: str) -> dict[int, list[int]]:
    """Nodes that belong together for a reader: from the first node of a run to all of its nodes.

    A run goes on where one continuation has nine tenths of the probability of the node before it, and ends with a text.
    """
    log_prob, parents = tree["node_log_prob"].sel(stage=stage).values, tree["node_parent"].values
    ended, first = tree["node_ended"].values.astype(bool), np.arange(len(parents))
    found: dict[int, list[int]] = {}
    for node in np.flatnonzero((parents >= 0) & ~ended).tolist():
        parent = int(parents[node])
        if parent > 0 and log_prob[node] - log_prob[parent] >= np.log(SURE):
            first[node] = first[parent]
        found.setdefault(int(first[node]), []).append(node)
    return found


def words(tree: xr.Dataset, stage: str) -> pd.DataFrame:
    """What to write on the blocks of one stage: `node`, `word` and `length` (tokens) of every run."""
    tokens = tree["node_token"].values
    found = [
        {"node": first, "length": len(nodes), "word": "".join(tokens[nodes]).strip(" ").replace("\n", "↵")}
        for first, nodes in runs(tree, stage).items()
    ]
    return pd.DataFrame(found, columns=["node", "length", "word"])
