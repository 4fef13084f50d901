"""Changes by base rank against plain loops."""

import numpy as np
import pytest
import torch

from mcinterp.behaviour.preference import measures


def some(rows: int, vocabulary: int, seed: int) -> torch.Tensor:
    """Random log-probabilities."""
    return torch.randn(rows, vocabulary, generator=torch.Generator().manual_seed(seed)).mul(3).log_softmax(-1)


Q, P = some(5, 17, 0), some(5, 17, 1)
BINS = measures.rank_bins(17)


def test_bins_cover_every_rank_once() -> None:
    assert BINS == [(1, 1), (2, 2), (3, 3), (4, 10), (11, 17)]
    assert measures.bin_names(BINS) == ["1", "2", "3", "4-10", "11+"]
    for vocabulary in (2, 3, 4, 10, 1000, 1001, 50_000):
        bins = measures.rank_bins(vocabulary)
        assert [rank for low, high in bins for rank in range(low, high + 1)] == list(range(1, vocabulary + 1))
        assert measures.bin_names(bins)[-1].endswith("+")


def test_changes_are_those_of_a_plain_loop() -> None:
    found = measures.by_base_rank(Q, P, BINS)
    for row in range(5):
        order = np.argsort(-P[row].numpy(), kind="stable")
        for number, (low, high) in enumerate(BINS):
            q, p = (each[row].double().numpy()[order[low - 1 : high]] for each in (Q, P))
            assert float(found.log_prob_change[row, number]) == pytest.approx((q - p).mean())
            assert float(found.mass_change[row, number]) == pytest.approx((np.exp(q) - np.exp(p)).sum())
            assert float(found.raised_share[row, number]) == pytest.approx((q > p).mean())


def test_no_mass_is_lost_and_nothing_moves_between_equals() -> None:
    torch.testing.assert_close(
        measures.by_base_rank(Q, P, BINS).mass_change.sum(-1), torch.zeros(5, dtype=torch.float64), atol=1e-6, rtol=0
    )
    assert all(float(part.abs().max()) == 0.0 for part in measures.by_base_rank(P, P, BINS))


def test_squeezing_shows_as_one_bin_up_and_all_others_down() -> None:
    best = P.argmax(-1, keepdim=True)
    squeezed = P.scatter(-1, best, P.gather(-1, best) + 2.0).log_softmax(-1)
    found = measures.by_base_rank(squeezed, P, BINS)
    assert float(found.log_prob_change[:, 0].min()) > 0.0
    assert float(found.log_prob_change[:, 1:].max()) < 0.0
    assert found.raised_share.tolist() == [[1.0, 0.0, 0.0, 0.0, 0.0]] * 5


def test_a_temperature_keeps_the_sign_of_the_change_in_order() -> None:
    sharper = (2 * P).log_softmax(-1)
    change = measures.by_base_rank(sharper, P, [(rank, rank) for rank in range(1, 18)]).log_prob_change
    assert bool((change.diff(dim=-1) <= 1e-6).all())


def test_which_tokens_end_a_text() -> None:
    assert measures.is_end(torch.tensor([3, 5, 4]), frozenset({5, 3})).tolist() == [1.0, 1.0, 0.0]
    assert measures.is_end(torch.tensor([3]), frozenset()).tolist() == [0.0]
