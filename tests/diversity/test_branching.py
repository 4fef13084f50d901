"""The branching factor: a Markov chain whose entropy rate is known, and the nucleus against a plain loop."""

import numpy as np
import pytest
import torch

from mcinterp.diversity.branching import branching_factor, entropy_rate, nucleus

MOVES = np.asarray([[0.7, 0.2, 0.1], [0.05, 0.9, 0.05], [0.3, 0.3, 0.4]])


def stationary() -> np.ndarray:
    values, vectors = np.linalg.eig(MOVES.T)
    found = np.real(vectors[:, np.argmax(np.real(values))])
    return found / found.sum()


def walks(samples: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Entropy of what each state was drawn from, and its log-probability, along chains begun at rest."""
    random = np.random.default_rng(0)
    start = stationary()
    rows = -(MOVES * np.log(MOVES)).sum(axis=1)
    entropies, logs = np.zeros((samples, steps)), np.zeros((samples, steps))
    for sample in range(samples):
        state = random.choice(3, p=start)
        for step in range(steps):
            after = random.choice(3, p=MOVES[state])
            entropies[sample, step], logs[sample, step] = rows[state], np.log(MOVES[state, after])
            state = after
    return entropies, logs


@pytest.mark.parametrize("steps", [20, 80])
def test_it_is_the_entropy_rate_of_a_markov_chain(steps: int) -> None:
    rate = float(stationary() @ -(MOVES * np.log(MOVES)).sum(axis=1))
    entropies, logs = walks(400, steps)
    assert branching_factor(entropies, logs) == pytest.approx(np.exp(rate), rel=0.02)


def test_long_samples_are_read_by_their_probability_and_ends_are_left_out() -> None:
    entropies, logs = np.full((2, 60), 1.0), np.full((2, 60), -2.0)
    entropies[1, 3:], logs[1, 3:] = np.nan, np.nan
    assert entropy_rate(entropies, logs) == 2.0
    assert entropy_rate(entropies, logs, asymptotic=60) == 1.0
    entropies[0, :4] = 5.0
    assert entropy_rate(entropies[:, :5], logs[:, :5]) == pytest.approx((4 * 5 + 1 + 3 * 1) / 8)
    assert np.isnan(branching_factor(np.full((2, 3), np.nan), np.full((2, 3), np.nan)))


def test_uniform_choices_are_counted() -> None:
    assert branching_factor(np.full((3, 5), np.log(7)), np.full((3, 5), -np.log(7))) == pytest.approx(7)


def test_the_nucleus_is_the_fewest_tokens_that_hold_the_mass() -> None:
    probabilities = torch.tensor([[0.5, 0.05, 0.3, 0.1, 0.05], [0.02, 0.95, 0.01, 0.01, 0.01]])
    found = nucleus(probabilities.log(), 0.85).exp()
    expected = torch.tensor([[0.5, 0, 0.3, 0.1, 0], [0, 1, 0, 0, 0]])
    torch.testing.assert_close(found, expected / expected.sum(-1, keepdim=True))
    torch.testing.assert_close(nucleus(probabilities.log(), 1.0).exp(), probabilities)
