"""Shapley values: a difference split among the players who made it, over all orders in which they may join."""

from math import factorial
from typing import NamedTuple

import torch
from jaxtyping import Float


class Shares(NamedTuple):
    """What each player adds, in the unit of the game's value: over all orders, joining first, and joining last."""

    shapley: Float[torch.Tensor, "*batch player"]
    alone_first: Float[torch.Tensor, "*batch player"]
    alone_last: Float[torch.Tensor, "*batch player"]


def shapley(values: Float[torch.Tensor, "*batch coalition"]) -> Shares:
    """Shapley values from the value of every coalition; bit i of a coalition's index says whether player i is in it.

    phi_i = sum over coalitions S without i of |S|! (n - |S| - 1)! / n! (v(S + i) - v(S)) (Shapley 1953); their sum is
    v(all) - v(none).
    """
    size = values.shape[-1]
    players = size.bit_length() - 1
    assert size == 1 << players, "a coalition is missing"
    shares = []
    for player in range(players):
        without = [s for s in range(size) if not s >> player & 1]
        gains = values[..., [s | 1 << player for s in without]] - values[..., without]
        weights = [order_share(s.bit_count(), players) for s in without]
        shares.append((gains @ torch.tensor(weights).to(gains), gains[..., 0], gains[..., -1]))
    return Shares(*(torch.stack(each, dim=-1) for each in zip(*shares, strict=True)))


def order_share(before: int, players: int) -> float:
    """The share of all orders in which exactly given `before` players join before a given one."""
    return factorial(before) * factorial(players - before - 1) / factorial(players)
