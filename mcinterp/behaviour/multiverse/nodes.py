"""The nodes of exact prefix trees as plain arrays: levels as they grow, the budget, and the finished tree.

A node is a beginning of a text. No node is likelier than the one before it, so the likeliest nodes are a tree: a budget
of N nodes keeps the N likeliest, whatever the order in which they were found.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

PerNode = Float[np.ndarray, "stage node"]
PerRow = Float[np.ndarray, "stage row"]
Marks = Bool[np.ndarray, "row"]


@dataclass(frozen=True)
class Tree:
    """The tree of one prompt: nodes level by level, node 0 the empty continuation.

    `parent` and `token` are -1 for it; `ended` marks nodes whose token ends the text, `expanded` those whose
    continuations were read. `log_prob` (nats) is log P(node | prompt), `entropy` (nats) that of the next token and
    `top_log_prob` the log-probability of the likeliest one (both missing where nothing was read), and `cut` the
    probability P of all continuations of the node that are not in the tree.
    """

    parent: Int[np.ndarray, "node"]
    depth: Int[np.ndarray, "node"]
    token: Int[np.ndarray, "node"]
    ended: Bool[np.ndarray, "node"]
    expanded: Bool[np.ndarray, "node"]
    log_prob: PerNode
    entropy: PerNode
    top_log_prob: PerNode
    cut: PerNode

    def __len__(self) -> int:
        return len(self.parent)

    def tokens(self, node: int) -> tuple[int, ...]:
        """The tokens that lead to a node."""
        written: list[int] = []
        while node > 0:
            written.append(int(self.token[node]))
            node = int(self.parent[node])
        return tuple(reversed(written))


@dataclass
class Level:
    """All prefixes of one length, of several trees: `tree` is the prompt, `parent` a row of the level before.

    `expanded` marks the rows that were read, with `entropy`, `top_log_prob`, and in `left_out` the probability of all
    their continuations that are in no later level.
    """

    tree: Int[np.ndarray, "row"]
    parent: Int[np.ndarray, "row"]
    token: Int[np.ndarray, "row"]
    ended: Bool[np.ndarray, "row"]
    log_prob: Float[np.ndarray, "stage row"]

    def __post_init__(self) -> None:
        self.expanded: Marks = np.zeros(len(self.tree), dtype=bool)
        self.entropy: PerRow = np.full_like(self.log_prob, np.nan)
        self.top_log_prob: PerRow = np.full_like(self.log_prob, np.nan)
        self.left_out: PerRow = np.zeros_like(self.log_prob)

    @property
    def likeliest(self) -> Float[np.ndarray, "row"]:
        """log P under the stage that finds the prefix likeliest."""
        return self.log_prob.max(axis=0)

    def note(self, rows: np.ndarray, entropy: np.ndarray, top_log_prob: np.ndarray) -> None:
        """Mark rows as read, and note what was read there."""
        self.expanded[rows] = True
        self.entropy[:, rows], self.top_log_prob[:, rows] = entropy, top_log_prob

    def leave_out(self, following: "Level", chosen: Bool[np.ndarray, "row"]) -> None:
        """Count chosen continuations of this level as left out."""
        np.add.at(self.left_out.T, following.parent[chosen], np.exp(following.log_prob[:, chosen]).T)

    def rows(self, chosen: Bool[np.ndarray, "row"]) -> "Level":
        """Chosen rows of a level that was not read yet."""
        return Level(
            self.tree[chosen], self.parent[chosen], self.token[chosen], self.ended[chosen], self.log_prob[:, chosen]
        )


def root_level(trees: int, stages: int) -> Level:
    """The empty continuation of every prompt, of probability 1."""
    none = np.full(trees, -1)
    return Level(np.arange(trees), none, none.copy(), np.zeros(trees, dtype=bool), np.zeros((stages, trees)))


def joined(pieces: Sequence[Level]) -> Level:
    """Pieces of a level that was not read yet, one behind the other."""
    names = ("tree", "parent", "token", "ended", "log_prob")
    return Level(*(np.concatenate([getattr(piece, name) for piece in pieces], axis=-1) for name in names))


def limits(levels: Sequence[Level], trees: int, most: int) -> Float[np.ndarray, "tree"]:
    """For every tree, the log P of its `most`-th likeliest node so far; -inf where it has fewer.

    What is less likely cannot be among the `most` likeliest at last, nor can anything that begins with it.
    """
    tree = np.concatenate([level.tree for level in levels])
    likeliest = np.concatenate([level.likeliest for level in levels])
    found = np.full(trees, -np.inf)
    for number in np.flatnonzero(np.bincount(tree, minlength=trees) >= most):
        own = likeliest[tree == number]
        found[number] = np.partition(own, len(own) - most)[len(own) - most]
    return found


def finished(levels: Sequence[Level], trees: int, most: int) -> list[Tree]:
    """The `most` likeliest nodes of every tree; the probability of those dropped joins the cut of their parents."""
    sizes = [len(level.tree) for level in levels]
    before = np.concatenate([[0, 0], np.cumsum(sizes)])
    names = ("tree", "token", "ended", "expanded", "log_prob", "entropy", "top_log_prob", "left_out")
    whole = {name: np.concatenate([getattr(level, name) for level in levels], axis=-1) for name in names}
    whole["depth"] = np.repeat(np.arange(len(levels)), sizes)
    shifted = [np.where(level.parent < 0, -1, level.parent + before[d]) for d, level in enumerate(levels)]
    whole["parent"] = np.concatenate(shifted)
    kept = likeliest_of(whole, trees, most)
    dropped = np.flatnonzero(~kept & (whole["parent"] >= 0))
    dropped = dropped[kept[whole["parent"][dropped]]]
    mass = np.exp(whole["log_prob"][:, dropped])
    np.add.at(whole["left_out"].T, whole["parent"][dropped], mass.T)
    return [cut_out(whole, np.flatnonzero(kept & (whole["tree"] == number))) for number in range(trees)]


def likeliest_of(whole: dict[str, np.ndarray], trees: int, most: int) -> Bool[np.ndarray, "node"]:
    """Which nodes are among the `most` likeliest of their tree; of equally likely ones the shorter come first."""
    likeliest, kept = whole["log_prob"].max(axis=0), np.zeros(len(whole["tree"]), dtype=bool)
    for number in range(trees):
        own = np.flatnonzero(whole["tree"] == number)
        kept[own[np.lexsort((own, whole["depth"][own], -likeliest[own]))[:most]]] = True
    return kept


def cut_out(whole: dict[str, np.ndarray], own: Int[np.ndarray, "kept"]) -> Tree:
    """Some nodes, closed under parents, as a tree of their own."""
    numbers = np.full(1 + len(whole["tree"]), -1)
    numbers[own] = np.arange(len(own))
    same = ("depth", "token", "ended", "expanded", "log_prob", "entropy", "top_log_prob")
    picked = {name: whole[name][..., own] for name in same}
    return Tree(parent=numbers[whole["parent"][own]], cut=whole["left_out"][:, own], **picked)
