"""The temperature split against closed forms, brute force on grids, and its own identities."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mcinterp import divergence as d
from mcinterp import sharpening as s
from mcinterp.errors import InputError
from mcinterp.tilting import tilt


def rows(count: int, vocabulary: int, scale: float, seed: int) -> torch.Tensor:
    """Random log-probabilities, the more uneven the larger the scale."""
    generator = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(count, vocabulary, generator=generator, dtype=torch.float64)).log_softmax(-1)


def tempered(p: torch.Tensor, beta: float) -> torch.Tensor:
    return (beta * p).log_softmax(-1)


def test_collapse_onto_an_unlikely_token_has_a_negative_beta_and_a_large_share() -> None:
    p = torch.tensor([[0.4, 0.3, 0.2, 0.09, 0.01]], dtype=torch.float64).log()
    q = torch.tensor([[0.005, 0.005, 0.005, 0.005, 0.98]], dtype=torch.float64).log()
    split = s.split_kl(q, p)
    assert float(d.entropy(p)) == pytest.approx(1.31, abs=0.005)
    assert float(d.entropy(q)) == pytest.approx(0.13, abs=0.005)
    assert float(split.beta) == pytest.approx(-1.83, abs=0.005)
    assert float(split.share) == pytest.approx(0.997, abs=0.0005)
    assert not bool(split.capped)


@pytest.mark.parametrize("beta", [-2.5, 0.0, 0.3, 1.0, 1.9, 7.0])
def test_a_tempered_base_gives_back_its_beta_and_is_all_temperature(beta: float) -> None:
    p = rows(3, 11, 1.0, 0)
    split = s.split_kl(tempered(p, beta), p, rows(1, 11, 1.0, 1)[0])
    torch.testing.assert_close(split.beta, torch.full((3,), beta, dtype=torch.float64), atol=1e-6, rtol=0)
    torch.testing.assert_close(split.temperature, d.kl_divergence(tempered(p, beta), p), atol=1e-10, rtol=0)
    assert float((split.frequency + split.reordering).abs().max()) < 1e-10
    assert bool((split.share > 1 - 1e-8).all()) or beta == 1.0


def test_powers_of_base_and_frequency_leave_no_reordering() -> None:
    p, u = rows(5, 13, 1.5, 0), rows(1, 13, 1.0, 1)[0]
    q = (0.7 * p + 1.3 * u).log_softmax(-1)
    split = s.split_kl(q, p, u)
    torch.testing.assert_close(split.beta_with_frequency, torch.full((5,), 0.7, dtype=torch.float64))
    torch.testing.assert_close(split.gamma, torch.full((5,), 1.3, dtype=torch.float64))
    assert float(split.reordering.max()) < 1e-10
    assert float(split.frequency.min()) > 0.01


def test_a_frequency_that_is_a_power_of_the_base_explains_nothing_more() -> None:
    p, q = rows(1, 13, 1.5, 0), rows(1, 13, 1.5, 1)
    assert float(s.split_kl(q, p, 0.4 * p[0] - 3.0).frequency) == pytest.approx(0.0, abs=1e-10)


def test_beta_is_the_best_of_a_grid() -> None:
    q, p = rows(7, 5, 1.5, 2), rows(7, 5, 1.5, 3)
    grid = torch.linspace(-6, 6, 24_001, dtype=torch.float64)
    family = (grid[:, None, None] * p).log_softmax(-1)
    kl = d.kl_divergence(q.expand_as(family), family)
    split = s.split_kl(q, p)
    torch.testing.assert_close(split.beta, grid[kl.argmin(0)], atol=3e-4, rtol=0)
    torch.testing.assert_close(split.kl - split.temperature, kl.min(0).values, atol=1e-6, rtol=0)


def test_both_exponents_are_the_best_of_a_grid_also_at_the_cap() -> None:
    q, p, u = rows(9, 3, 4.0, 4), rows(9, 3, 0.7, 5), rows(1, 3, 1.0, 6)[0]
    grid = torch.linspace(-3, 3, 601, dtype=torch.float64)
    beta, gamma = torch.meshgrid(grid, grid, indexing="ij")
    family = (beta[..., None, None] * p + gamma[..., None, None] * u).log_softmax(-1)
    best = d.kl_divergence(q.expand_as(family), family).flatten(0, 1).min(0).values
    split = s.split_kl(q, p, u, cap=3.0)
    assert 0 < int(split.frequency_capped.sum()) < 9
    torch.testing.assert_close(split.reordering, best, atol=2e-4, rtol=0)
    assert bool((split.reordering <= best + 1e-12).all())


@settings(max_examples=60, deadline=None)
@given(
    vocabulary=st.integers(2, 30), sharp_q=st.floats(0.0, 20.0), sharp_p=st.floats(0.0, 8.0), seed=st.integers(0, 2**20)
)
def test_parts_sum_to_the_whole_and_none_is_negative(
    vocabulary: int, sharp_q: float, sharp_p: float, seed: int
) -> None:
    q, p = rows(3, vocabulary, sharp_q, seed), rows(3, vocabulary, sharp_p, seed + 1)
    split = s.split_kl(q, p, rows(1, vocabulary, 1.0, seed + 2)[0])
    parts = torch.stack([split.temperature, split.frequency, split.reordering])
    torch.testing.assert_close(parts.sum(0), d.kl_divergence(q, p).clamp(min=0), atol=1e-10, rtol=1e-10)
    assert float(parts.min()) >= 0.0
    known = ~split.share.isnan()
    assert bool(((split.share[known] >= 0) & (split.share[known] <= 1)).all())


@settings(max_examples=60, deadline=None)
@given(vocabulary=st.integers(2, 30), sharp=st.floats(0.2, 6.0), seed=st.integers(0, 2**20))
def test_parts_are_the_divergences_they_are_named_after(vocabulary: int, sharp: float, seed: int) -> None:
    q, p = rows(3, vocabulary, sharp, seed), rows(3, vocabulary, sharp, seed + 1)
    u = rows(1, vocabulary, sharp, seed + 2)[0]
    split = s.split_kl(q, p, u)
    alone = (split.beta[:, None] * p).log_softmax(-1)
    both = (split.beta_with_frequency[:, None] * p + split.gamma[:, None] * u).log_softmax(-1)
    exact = ~(split.capped | split.frequency_capped)
    for part, expected in (
        (split.temperature, d.kl_divergence(alone, p)),
        (split.frequency, d.kl_divergence(both, alone)),
        (split.reordering, d.kl_divergence(q, both)),
    ):
        torch.testing.assert_close(part[exact], expected[exact], atol=3e-6, rtol=1e-6)


@settings(max_examples=60, deadline=None)
@given(sharp_q=st.floats(0.0, 60.0), sharp_p=st.floats(0.01, 12.0), seed=st.integers(0, 2**20))
def test_the_moment_condition_holds_or_is_flagged(sharp_q: float, sharp_p: float, seed: int) -> None:
    q, p = rows(4, 17, sharp_q, seed), rows(4, 17, sharp_p, seed + 1)
    features = (p - d.expectation(q, p)[:, None])[:, None]
    found = tilt(features, torch.ones(4, 1, dtype=torch.float64))
    assert float(found.gap[~found.capped].max() if bool((~found.capped).any()) else 0.0) <= 1e-8
    assert bool((found.theta[found.capped].abs() == 50.0).all())
    powers = (found.theta * p).log_softmax(-1)
    gap = (d.expectation(powers, p) - d.expectation(q, p)).abs()
    torch.testing.assert_close(gap, found.gap, atol=1e-10, rtol=1e-6)


def test_betas_beyond_the_cap_stand_at_it_flagged_and_parts_still_sum() -> None:
    p = torch.tensor([[0.25, 0.2501, 0.2499, 0.25]], dtype=torch.float64).log().log_softmax(-1).expand(2, 4)
    q = torch.tensor([[0.01, 0.97, 0.01, 0.01], [0.01, 0.01, 0.97, 0.01]], dtype=torch.float64).log()
    split = s.split_kl(q, p, cap=5.0)
    assert split.beta.tolist() == [5.0, -5.0]
    assert split.capped.tolist() == [True, True]
    torch.testing.assert_close(split.temperature + split.reordering, split.kl)
    assert bool((split.temperature > 0).all())


def test_equal_distributions_have_beta_one_no_divergence_and_no_share() -> None:
    p = rows(3, 7, 1.0, 0).float()
    split = s.split_kl(p, p, rows(1, 7, 1.0, 1)[0])
    assert split.beta.tolist() == [1.0, 1.0, 1.0]
    assert float(torch.stack([split.kl, split.temperature, split.frequency, split.reordering]).abs().max()) == 0.0
    assert bool(split.share.isnan().all())
    uniform = s.split_kl(rows(1, 7, 1.0, 2), torch.zeros(1, 7).log_softmax(-1))
    assert float(uniform.beta) == 1.0
    assert float(uniform.share) == 0.0


def test_a_token_without_probability_is_refused_in_the_base_and_fine_in_the_tuned() -> None:
    whole, holed = rows(1, 4, 1.0, 0), torch.tensor([[0.5, 0.3, 0.2, 0.0]], dtype=torch.float64).log()
    split = s.split_kl(holed, whole)
    assert float(split.kl) == pytest.approx(float(d.kl_divergence(holed, whole)))
    with pytest.raises(InputError, match="p has log-probabilities that are not finite"):
        s.split_kl(whole, holed)
    with pytest.raises(InputError, match="the token frequency has log-probabilities that are not finite"):
        s.split_kl(whole, whole, holed[0])
    with pytest.raises(InputError, match="p has log-probabilities"):
        s.pooled_beta([(whole, holed, torch.zeros(1).long())], 1)


def test_one_beta_for_rows_tempered_alike_explains_all_and_else_less() -> None:
    p = rows(6, 11, 1.0, 0)
    group = torch.tensor([0, 1, 0, 1, 0, 1])
    q = torch.stack([tempered(row, 2.0 if g == 0 else 0.5) for row, g in zip(p, group.tolist(), strict=True)])
    apart = s.pooled_beta([(q, p, group)], 2)
    torch.testing.assert_close(apart.beta, torch.tensor([2.0, 0.5], dtype=torch.float64))
    torch.testing.assert_close(apart.share, torch.ones(2, dtype=torch.float64))
    together = s.pooled_beta([(q, p, torch.zeros(6).long())], 1)
    assert 0.5 < float(together.beta) < 2.0
    assert float(together.share) < 0.9


def test_a_pooled_beta_is_the_best_of_a_grid_whatever_the_chunks() -> None:
    q, p = rows(7, 5, 1.5, 2), rows(7, 5, 1.5, 3)
    grid = torch.linspace(-2, 3, 10_001, dtype=torch.float64)
    family = (grid[:, None, None] * p).log_softmax(-1)
    kl = d.kl_divergence(q.expand_as(family), family).sum(-1)
    group = torch.zeros(7).long()
    pooled = s.pooled_beta([(q[:2], p[:2], group[:2]), (q[2:], p[2:], group[2:])], 1)
    assert float(pooled.beta) == pytest.approx(float(grid[kl.argmin()]), abs=3e-4)
    assert float(pooled.kl - pooled.temperature) == pytest.approx(float(kl.min()), abs=1e-6)
    whole = s.pooled_beta([(q, p, group)], 1)
    torch.testing.assert_close(pooled.beta, whole.beta, atol=1e-9, rtol=0)


def test_a_group_of_one_row_has_its_rows_beta_and_an_empty_group_changes_nothing() -> None:
    q, p = rows(3, 7, 2.0, 0), rows(3, 7, 2.0, 1)
    pooled, split = s.pooled_beta([(q, p, torch.tensor([3, 0, 2]))], 5), s.split_kl(q, p)
    torch.testing.assert_close(pooled.beta[[3, 0, 2]], split.beta, atol=1e-8, rtol=0)
    torch.testing.assert_close(pooled.temperature[[3, 0, 2]], split.temperature, atol=1e-10, rtol=0)
    assert pooled.beta[[1, 4]].tolist() == [1.0, 1.0]
    assert bool(pooled.share[[1, 4]].isnan().all())


def test_shift_classes_follow_the_rank_under_the_base() -> None:
    classes = s.shift_class(torch.tensor([[1, 2, 3], [4, 5, 900]]))
    assert [[s.SHIFT_CLASSES[i] for i in row] for row in classes.tolist()] == [
        ["unshifted", "marginal", "marginal"],
        ["shifted", "shifted", "shifted"],
    ]


def test_kendall_tau_counts_pairs_of_the_bases_top() -> None:
    q, p = rows(5, 9, 1.0, 7), rows(5, 9, 1.0, 8)
    found = s.kendall_tau(q, p, 4)
    for row in range(5):
        top = p[row].topk(4).indices.tolist()
        signs = [1.0 if q[row, a] > q[row, b] else -1.0 for a, b in itertools.combinations(top, 2)]
        assert float(found[row]) == pytest.approx(sum(signs) / 6)
    assert s.kendall_tau(p, p, 9).tolist() == [1.0] * 5
    assert s.kendall_tau(-p, p, 90).tolist() == [-1.0] * 5
    assert bool(s.kendall_tau(q, p, 1).isnan().all())


def test_jaccard_counts_shared_tokens_of_both_tops() -> None:
    left = torch.tensor([[5.0, 4.0, 3.0, 2.0, 1.0]]).log_softmax(-1)
    right = torch.tensor([[5.0, 1.0, 2.0, 4.0, 3.0]]).log_softmax(-1)
    assert [float(s.top_k_jaccard(left, right, k)) for k in (1, 2, 3, 5, 9)] == pytest.approx([1, 1 / 3, 1 / 5, 1, 1])
