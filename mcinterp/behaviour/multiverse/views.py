"""One prompt's tree out of a multiverse, and a branch of it with everything divided by the branch's own probability."""

import numpy as np
import xarray as xr

from mcinterp.errors import InputError
from mcinterp.results import derived


def tree_of(dataset: xr.Dataset, prompt: int) -> xr.Dataset:
    """The nodes of one prompt's tree, numbered from 0, with the prompt's own measures.

    Raises:
        InputError: for a prompt that the dataset does not hold.
    """
    if prompt not in dataset["prompt"].values:
        raise InputError(f"got prompt {prompt}; the trees are of prompts 0 to {int(dataset['prompt'].max())}.")
    own = np.flatnonzero(dataset["node_prompt"].values == prompt)
    one = dataset.isel(node=own).sel(prompt=prompt)
    parent = one["node_parent"].values
    return one.assign(node_parent=("node", np.where(parent < 0, -1, parent - own[0]).astype(np.int32)))


def node_texts(tree: xr.Dataset) -> list[str]:
    """The text that leads to every node of one tree, tokens as they are written."""
    texts: list[str] = []
    for parent, token in zip(tree["node_parent"].values.tolist(), tree["node_token"].values.tolist(), strict=True):
        texts.append("" if parent < 0 else texts[parent] + token)
    return texts


def branch(tree: xr.Dataset, beginning: str | int) -> xr.Dataset:
    """What follows a node (by its text, or its number), renormalised: its probability is 1 under every stage.

    The node becomes the empty continuation; probabilities and cuts are divided by its own, depths count from it.
    Measures of the whole tree are left out.

    Raises:
        InputError: for a beginning that is not in the tree.
    """
    node = find(tree, beginning)
    kept = below(tree["node_parent"].values, node)
    own = np.flatnonzero(kept)
    inside = tree[[name for name in tree.data_vars if "node" in tree[name].dims]].isel(node=own)
    numbers = np.full(len(kept) + 1, -1)
    numbers[own] = np.arange(len(own))
    level = tree["node_log_prob"].isel(node=node)
    parents = numbers[inside["node_parent"].values]
    parents[0] = -1
    found = inside.assign(
        node_parent=("node", parents.astype(np.int32)),
        node_depth=inside["node_depth"] - inside["node_depth"][0],
        node_log_prob=inside["node_log_prob"] - level,
        node_cut=inside["node_cut"] / np.exp(level),
    )
    return derived(found, tree, branch=node_texts(tree)[node])


def find(tree: xr.Dataset, beginning: str | int) -> int:
    """The number of a node of one tree."""
    texts = node_texts(tree)
    if isinstance(beginning, int):
        if not 0 <= beginning < len(texts):
            raise InputError(f"got node {beginning}; the tree has nodes 0 to {len(texts) - 1}.")
        return beginning
    if beginning not in texts:
        first = ", ".join(repr(t) for t, d in zip(texts, tree["node_depth"].values, strict=True) if d == 1)
        raise InputError(f"no text of the tree begins {beginning!r} at the end of a token; it begins {first}.")
    return texts.index(beginning)


def below(parents: np.ndarray, node: int) -> np.ndarray:
    """Which nodes a node leads to, itself among them; parents stand before their children."""
    found = np.zeros(len(parents), dtype=bool)
    found[node] = True
    for number in range(node + 1, len(parents)):
        found[number] = parents[number] >= 0 and found[parents[number]]
    return found
