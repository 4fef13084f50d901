"""Shapley values against games with known values and against all orders."""

from itertools import permutations

import torch

from mcinterp.attribution.shapley import shapley


def test_an_additive_game_gives_each_player_its_own_worth() -> None:
    worth = torch.tensor([2.0, -1.0, 5.0])
    values = torch.tensor([sum(float(worth[i]) for i in range(3) if s >> i & 1) for s in range(8)])
    for figure in shapley(values):
        torch.testing.assert_close(figure, worth)


def test_the_glove_game_has_its_published_values() -> None:
    pairs = [float(bool(s & 1) and bool(s & 6)) for s in range(8)]
    found = shapley(torch.tensor(pairs))
    torch.testing.assert_close(found.shapley, torch.tensor([2 / 3, 1 / 6, 1 / 6]))
    assert found.alone_first.tolist() == [0.0, 0.0, 0.0]
    assert found.alone_last.tolist() == [1.0, 0.0, 0.0]


def test_values_are_means_over_all_orders_and_sum_to_the_whole() -> None:
    values = torch.randn(2, 3, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = torch.zeros(2, 3, 4, dtype=torch.float64)
    for order in permutations(range(4)):
        joined = 0
        for player in order:
            expected[..., player] += (values[..., joined | 1 << player] - values[..., joined]) / 24
            joined |= 1 << player
    found = shapley(values)
    torch.testing.assert_close(found.shapley, expected)
    torch.testing.assert_close(found.shapley.sum(-1), values[..., -1] - values[..., 0])
    torch.testing.assert_close(found.alone_first[..., 2], values[..., 4] - values[..., 0])
    torch.testing.assert_close(found.alone_last[..., 2], values[..., 15] - values[..., 11])
