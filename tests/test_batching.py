"""Padding and masks."""

import pytest

from mcinterp.batching import batches, pad

RAGGED = [(5, 6, 7), (8,), (0, 0), (9, 9, 9, 9)]


@pytest.mark.parametrize("side", ["left", "right"])
def test_masks_follow_lengths_even_where_tokens_equal_the_padding(side: str) -> None:
    batch = pad(RAGGED, side=side)
    assert batch.attention.sum(-1).tolist() == [3, 1, 2, 4]
    for row, ids in enumerate(RAGGED):
        present = batch.present[row]
        assert tuple(batch.tokens[row][present].tolist()) == ids


def test_batches_hold_every_sequence_once_within_the_budget() -> None:
    listed = list(batches(RAGGED, max_tokens=4))
    assert sorted(i for batch in listed for i in batch.indices) == [0, 1, 2, 3]
    assert all(batch.tokens.numel() <= 4 for batch in listed)


def test_a_sequence_longer_than_the_budget_is_a_batch_of_its_own() -> None:
    assert [batch.indices for batch in batches([(1, 2, 3), (1,)], max_tokens=1)] == [(0,), (1,)]
