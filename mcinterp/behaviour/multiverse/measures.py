"""What a prefix tree says of each stage: mass by depth, the modal path and its half-life, size, forking strength.

Trees in, arrays out. At a depth d stand all prefixes of d tokens and, for good, the texts that ended before.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from mcinterp.behaviour.multiverse.nodes import Tree

Steps = Float[np.ndarray, "stage step"]
Mass = Float[np.ndarray, "*#cell outcome"]


class Bounds(NamedTuple):
    """The least and the most that something can be, given what was cut off."""

    low: np.ndarray
    high: np.ndarray


def standing(tree: Tree, depth: int) -> Bool[np.ndarray, "node"]:
    """Which nodes stand at a depth: those of that many tokens, and shorter ones that nothing follows."""
    return (tree.depth == depth) | ((tree.depth < depth) & ~tree.expanded)


def masses(tree: Tree, steps: int) -> dict[str, Steps]:
    """Probability at the depths 1 to `steps`: `kept` in the tree, `cut` off it so far, and `ended` of what is kept.

    `kept` and `cut` sum to 1.
    """
    share = np.exp(tree.log_prob)
    depths = range(1, steps + 1)
    kept = [share[:, standing(tree, d)].sum(axis=1) for d in depths]
    cut = [tree.cut[:, tree.depth < d].sum(axis=1) for d in depths]
    ended = [share[:, tree.ended & (tree.depth <= d)].sum(axis=1) for d in depths]
    return {name: np.stack(each, axis=1) for name, each in (("kept", kept), ("cut", cut), ("ended", ended))}


def top_mass(tree: Tree, steps: int) -> Steps:
    """The probability of the likeliest prefix at the depths 1 to `steps`; 0 where the tree has none."""
    share = np.exp(tree.log_prob)
    return np.stack([share[:, standing(tree, d)].max(axis=1, initial=0.0) for d in range(1, steps + 1)], axis=1)


def sizes(tree: Tree, steps: int, least: float) -> Int[np.ndarray, "stage step"]:
    """How many prefixes of 1 to `steps` tokens have a probability of `least` or more under each stage."""
    likely = tree.log_prob >= np.log(least)
    return np.stack([(likely & (tree.depth == d)).sum(axis=1) for d in range(1, steps + 1)], axis=1)


def area(tree: Tree, steps: int, least: float) -> Float[np.ndarray, "stage"]:
    """Mean over the depths 1 to `steps` of the probability in prefixes of `least` or more: 1 never scatters."""
    share = np.where(tree.log_prob >= np.log(least), np.exp(tree.log_prob), 0.0)
    return np.mean([share[:, standing(tree, d)].sum(axis=1) for d in range(1, steps + 1)], axis=0)


def modal_path(tree: Tree, stage: int) -> list[int]:
    """The nodes of the greedy continuation, from the empty one to where it ends, or where the tree does not hold it.

    The likeliest child that a node has in the tree is the greedy one if it is as likely as any next token.
    """
    path = [0]
    log_prob = tree.log_prob[stage]
    while tree.expanded[path[-1]]:
        children = np.flatnonzero(tree.parent == path[-1])
        if not len(children):
            break
        best = int(children[np.argmax(log_prob[children])])
        if log_prob[best] < log_prob[path[-1]] + tree.top_log_prob[stage, path[-1]] - 1e-4:
            break
        path.append(best)
    return path


def path_mass(tree: Tree, steps: int) -> Steps:
    """The probability of the first 1 to `steps` tokens of the modal path.

    One token beyond the tree it is known too; missing from there on.
    """
    found = np.full((len(tree.log_prob), steps), np.nan)
    for stage, row in enumerate(found):
        path = modal_path(tree, stage)
        logs = tree.log_prob[stage, path[1:]]
        row[: len(logs)] = np.exp(logs)
        last = path[-1]
        if not tree.expanded[last]:
            row[len(logs) :] = np.exp(tree.log_prob[stage, last])
        elif len(logs) < steps:
            row[len(logs)] = np.exp(tree.log_prob[stage, last] + tree.top_log_prob[stage, last])
    return found


def half_life(path: Steps) -> Float[np.ndarray, "stage"]:
    """Tokens after which the modal path has lost half its probability; infinite where the steps end before that.

    Missing where the path leaves the tree before that.
    """
    halved, known = path <= 0.5, ~np.isnan(path).any(axis=1)
    first = np.where(halved.any(axis=1), halved.argmax(axis=1) + 1.0, np.inf)
    return np.where(known | halved.any(axis=1), first, np.nan)


def outcome_masses(
    tree: Tree, outcome: Int[np.ndarray, "node"], outcomes: int
) -> Float[np.ndarray, "stage node outcome"]:
    """The probability of every outcome among the texts that begin with a node.

    `outcome` is the index of what a text comes to, for the nodes that nothing follows (-1 for all others). What was
    cut off has none, so that the outcomes of a node may sum to less than its probability.
    """
    found = np.zeros((*tree.log_prob.shape, outcomes))
    leaves = np.flatnonzero(outcome >= 0)
    found[:, leaves, outcome[leaves]] = np.exp(tree.log_prob[:, leaves])
    for node in range(len(tree) - 1, 0, -1):
        found[:, tree.parent[node]] += found[:, node]
    return found


def total_variation_bounds(one: Mass, other: Mass) -> Bounds:
    """Total variation between two distributions of which parts are unknown: the least and the most it can be.

    What a distribution lacks to 1 may lie anywhere. With nothing unknown both are half the sum of |one - other|.
    """
    unknown = [np.maximum(1.0 - each.sum(axis=-1), 0.0) for each in (one, other)]
    more, less = (np.maximum(sign * (one - other), 0.0).sum(axis=-1) for sign in (1, -1))
    low = np.maximum(np.maximum(more - unknown[1], less - unknown[0]), 0.0)
    return Bounds(low, np.clip(1.0 - np.minimum(one, other).sum(axis=-1), low, 1.0))


def forking(tree: Tree, outcome: Int[np.ndarray, "node"], outcomes: int, steps: int) -> Bounds:
    """Forking strength of every token of each stage's modal path (Bigelow et al. 2024, exact here).

    The sum over next tokens w of p(w) times the total variation between the outcomes of the texts after w and of those
    after the token taken: how much of what comes out is decided there. Between 0 and 1, as bounds, since what was cut
    off may come to anything; missing behind the path.
    """
    below = outcome_masses(tree, outcome, outcomes)
    low, high = (np.full((len(tree.log_prob), steps), np.nan) for _ in range(2))
    for stage in range(len(tree.log_prob)):
        for step, (node, taken) in enumerate(pairwise(modal_path(tree, stage))):
            low[stage, step], high[stage, step] = fork(tree, below[stage], stage, node, taken)
    return Bounds(low, high)


def fork(
    tree: Tree, below: Float[np.ndarray, "node outcome"], stage: int, node: int, taken: int
) -> tuple[float, float]:
    """The bounds of one token's forking strength."""
    share = np.exp(tree.log_prob[stage])
    others = np.flatnonzero((tree.parent == node) & (share > 0))
    others = others[others != taken]
    apart = total_variation_bounds(below[others] / share[others, None], below[taken] / share[taken])
    low, high = ((share[others] * each).sum() / share[node] for each in apart)
    return float(low), float(high + tree.cut[stage, node] / share[node])
