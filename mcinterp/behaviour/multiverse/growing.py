"""Exact prefix trees: every continuation of a prompt that any stage of a chain finds likely enough, and how likely.

All stages are read on the same prefixes, level by level, the frontiers of many prompts together. The stage that finds a
prefix likeliest decides whether it is kept, so every kept one has its probability under all of them; what is not kept
is counted, so that nothing is lost.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from mcinterp.behaviour.contexts.reading import end_ids
from mcinterp.behaviour.multiverse.nodes import Level, Tree, finished, joined, limits, root_level
from mcinterp.behaviour.multiverse.reading import Block, Caches, affordable, first_blocks, read, rows_at_once
from mcinterp.chain import Chain
from mcinterp.divergence import entropy
from mcinterp.errors import InputError
from mcinterp.progress import Progress

PROMPTS_AT_ONCE = 8
Ids = Sequence[int]


@dataclass(frozen=True)
class Growth:
    """Which prefixes a tree holds: those of at most `depth` tokens that some stage gives `least` or more.

    Of more than `most_nodes` of them (the empty one counts) the likeliest are kept.
    """

    least: float = 0.01
    depth: int = 24
    most_nodes: int = 2000

    def __post_init__(self) -> None:
        if not 0 < self.least <= 1 or self.depth < 1 or self.most_nodes < 1:
            raise InputError(
                f"got least={self.least}, depth={self.depth} and most_nodes={self.most_nodes}; give a probability "
                f"above 0 and at most 1, and whole numbers of 1 or more."
            )


GROWTH = Growth()


class Piece(NamedTuple):
    """What may follow a block: the prefixes, the row of the block that each goes on from, and the caches behind it."""

    block: Block
    level: Level
    source: Int[np.ndarray, "row"]
    caches: Caches


def grow(chain: Chain, prompts: Sequence[Ids], growth: Growth = GROWTH) -> list[Tree]:
    """The exact prefix tree of every prompt (token ids) under all stages of a chain.

    The probability of a prefix is the product of its next-token probabilities, each read on the prefix itself. A text
    goes on until a token that ends it in any stage, until `depth`, or until the context is full.
    """
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    groups = [order[start : start + PROMPTS_AT_ONCE] for start in range(0, len(order), PROMPTS_AT_ONCE)]
    found: dict[int, Tree] = {}
    for group in Progress(groups, desc="prefix trees", unit="batch"):
        found |= dict(zip(group, grow_group(chain, [prompts[index] for index in group], growth), strict=True))
    return [found[index] for index in range(len(prompts))]


def grow_group(chain: Chain, prompts: Sequence[Ids], growth: Growth) -> list[Tree]:
    """The trees of some prompts, grown together."""
    room = np.asarray([min(growth.depth, chain.alignment.context - len(ids)) for ids in prompts])
    levels = [root_level(len(prompts), len(chain.stages))]
    blocks = first_blocks(chain, prompts, np.flatnonzero(room > 0).tolist())
    while blocks:
        pieces = [follow(chain, block, levels[-1], growth.least) for block in blocks]
        bounds = limits([*levels, *(piece.level for piece in pieces)], len(prompts), growth.most_nodes)
        kept = [piece.level.likeliest >= bounds[piece.level.tree] for piece in pieces]
        for piece, chosen in zip(pieces, kept, strict=True):
            levels[-1].leave_out(piece.level, ~chosen)
        levels.append(joined([piece.level.rows(chosen) for piece, chosen in zip(pieces, kept, strict=True)]))
        blocks = frontier(chain, pieces, kept, room > len(levels) - 1)
    return finished(levels, len(prompts), growth.most_nodes)


def follow(chain: Chain, block: Block, last: Level, least: float) -> Piece:
    """Read a block, note what was read in its level, and list the prefixes that go on from it and are likely enough."""
    log_probs, caches = read(chain, block)
    rows = block.rows.numpy()
    last.note(rows, *(np.stack([of(each).numpy() for each in log_probs]) for of in (entropy, top)))
    here = torch.from_numpy(last.log_prob[:, rows])[..., None] + torch.stack(log_probs).double().log_softmax(dim=-1)
    likely = here.amax(dim=0) >= np.log(least)
    last.left_out[:, rows] = here.exp().masked_fill(likely, 0.0).sum(dim=-1).numpy()
    source, token = (each.numpy() for each in likely.nonzero(as_tuple=True))
    parent = rows[source]
    ended = np.isin(token, end_ids(chain))
    level = Level(last.tree[parent], parent, token, ended, here[:, source, token].numpy())
    return Piece(block, level, source, caches)


def top(log_probs: Float[torch.Tensor, "row vocabulary"]) -> Float[torch.Tensor, "row"]:
    """The log-probability of the likeliest token."""
    return log_probs.amax(dim=-1)


def frontier(
    chain: Chain, pieces: Sequence[Piece], kept: Sequence[Bool[np.ndarray, "row"]], going_on: Bool[np.ndarray, "tree"]
) -> list[Block]:
    """The blocks of the level that the kept rows make up, without texts that ended and trees that are deep enough.

    Caches are kept where those of the whole frontier are small enough.
    """
    open_rows = [
        np.flatnonzero(~p.level.ended[k] & going_on[p.level.tree[k]]) for p, k in zip(pieces, kept, strict=True)
    ]
    keeps = affordable(chain, sum(map(len, open_rows)), 1 + pieces[0].block.tokens.shape[1])
    starts = np.cumsum([0, *(int(each.sum()) for each in kept)])
    found: list[Block] = []
    for piece, chosen, rows, start in zip(pieces, kept, open_rows, starts, strict=False):
        source, token = (torch.from_numpy(each[chosen][rows]) for each in (piece.source, piece.level.token))
        number = torch.from_numpy(rows + start)
        for part in torch.arange(len(rows)).split(rows_at_once(chain)):
            caches = piece.caches if keeps else None
            found.append(piece.block.extended(source[part], token[part], number[part], caches))
    return [block for block in found if len(block.rows)]
