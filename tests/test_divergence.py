"""Divergences against torch.distributions, closed forms, and hand-worked cases."""

import math

import pytest
import torch
from torch.distributions import Categorical
from torch.distributions import kl_divergence as torch_kl

from mcinterp import divergence as d

torch.manual_seed(0)
Q = torch.randn(2, 3, 7, dtype=torch.float64).log_softmax(-1)
P = (2 * torch.randn(2, 3, 7, dtype=torch.float64)).log_softmax(-1)


def test_entropy_and_kl_agree_with_torch_distributions() -> None:
    torch.testing.assert_close(d.entropy(Q), Categorical(logits=Q).entropy())
    torch.testing.assert_close(d.kl_divergence(Q, P), torch_kl(Categorical(logits=Q), Categorical(logits=P)))


def test_js_agrees_with_its_definition_by_torch_distributions() -> None:
    mixture = Categorical(probs=(Q.exp() + P.exp()) / 2)
    expected = (torch_kl(Categorical(logits=Q), mixture) + torch_kl(Categorical(logits=P), mixture)) / 2
    torch.testing.assert_close(d.js_divergence(Q, P), expected)
    torch.testing.assert_close(d.js_divergence(Q, P), d.js_divergence(P, Q))


def test_divergences_of_disjoint_distributions_have_their_closed_forms() -> None:
    left = torch.tensor([0.5, 0.5, 0.0, 0.0]).log()
    right = torch.tensor([0.0, 0.0, 0.25, 0.75]).log()
    assert d.js_divergence(left, right) == pytest.approx(math.log(2))
    assert d.kl_divergence(left, right) == math.inf
    assert d.total_variation(left, right) == pytest.approx(1.0)


def test_total_variation_is_half_the_l1_distance_and_not_the_largest_difference() -> None:
    left, right = torch.tensor([0.5, 0.3, 0.2]).log(), torch.tensor([0.2, 0.3, 0.5]).log()
    assert d.total_variation(left, right) == pytest.approx(0.3)
    assert d.total_variation(
        torch.tensor([0.4, 0.4, 0.1, 0.1]).log(), torch.tensor([0.1, 0.1, 0.4, 0.4]).log()
    ) == pytest.approx(0.6)


def test_uniform_and_certain_distributions_have_the_extreme_entropies() -> None:
    uniform = torch.zeros(8).log_softmax(-1)
    certain = torch.tensor([1.0, 0.0, 0.0]).log()
    assert d.entropy(uniform) == pytest.approx(math.log(8))
    assert d.effective_choices(uniform) == pytest.approx(8.0)
    assert d.entropy(certain) == 0.0
    assert d.min_entropy(torch.tensor([0.25, 0.75]).log()) == pytest.approx(-math.log(0.75))


def test_identical_distributions_have_exactly_zero_kl() -> None:
    assert torch.equal(d.kl_divergence(Q, Q), torch.zeros(2, 3, dtype=torch.float64))


def test_log_probs_widen_half_precision_before_the_softmax() -> None:
    logits = torch.tensor([10.0, 10.01, 9.0]).bfloat16()
    assert d.log_probs(logits).dtype == torch.float32
    torch.testing.assert_close(d.log_probs(logits), logits.float().log_softmax(-1))
    assert d.log_probs(logits.double()).dtype == torch.float64


def test_rank_counts_better_tokens_and_ties_share_the_best() -> None:
    q = torch.tensor([[0.1, 0.4, 0.4, 0.1]]).log()
    assert [int(d.token_rank(q, torch.tensor([t]))) for t in range(4)] == [3, 1, 1, 3]


def test_plausible_set_is_the_smallest_with_the_mass_without_the_token() -> None:
    p = torch.tensor([[0.5, 0.3, 0.12, 0.05, 0.03]]).log()
    ids, belongs = d.plausible_set(p, torch.tensor([4]))
    assert ids[belongs].tolist() == [0, 1, 2]
    ids, belongs = d.plausible_set(p, torch.tensor([0]))
    assert ids[belongs].tolist() == [1, 2, 3]
    assert 0 not in ids[belongs].tolist()


def test_plausible_set_is_never_empty_nor_larger_than_asked() -> None:
    certain = torch.tensor([[0.98, 0.01, 0.006, 0.004]]).log()
    ids, belongs = d.plausible_set(certain, torch.tensor([0]))
    assert ids[belongs].tolist() == [1, 2, 3]
    uniform = torch.zeros(1, 50).log_softmax(-1)
    assert int(d.plausible_set(uniform, torch.tensor([3]), at_most=10)[1].sum()) == 10


def test_log_odds_are_the_same_from_logits_and_log_probs() -> None:
    logits = torch.randn(4, 9, dtype=torch.float64)
    token = torch.tensor([0, 3, 8, 2])
    ids, belongs = d.plausible_set(torch.randn(4, 9, dtype=torch.float64).log_softmax(-1), token)
    from_logits = d.log_odds(logits, token, ids, belongs)
    torch.testing.assert_close(from_logits, d.log_odds(logits.log_softmax(-1), token, ids, belongs))
    q = logits.softmax(-1)
    by_hand = [math.log(q[r, token[r]] / q[r, ids[r][belongs[r]]].sum()) for r in range(4)]
    torch.testing.assert_close(from_logits, torch.tensor(by_hand, dtype=torch.float64))


def test_undefined_logits_have_no_entropy() -> None:
    broken = d.log_probs(torch.tensor([0.0, torch.nan, 1.0]))
    for measure in (d.entropy, d.min_entropy):
        assert measure(broken).isnan()
    assert d.kl_divergence(broken, d.log_probs(torch.zeros(3))).isnan()
