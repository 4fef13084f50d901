"""Reading and writing at a temperature: equality with plain forward passes and with ordinary decoding."""

import numpy as np
import pytest
import torch

from mcinterp.behaviour.temperature_curves.reading import GRID, entropy_curves, read_tempered, temperature_of_entropy
from mcinterp.behaviour.temperature_curves.writing import divided_by, write_changed
from mcinterp.chain import Chain
from mcinterp.completions import Job, write_all

BEFORE = [(0, 5, 6), (0, 7), (0, 8, 9, 10)]
WRITTEN = [(11, 12), (), (13, 14, 15, 16)]
TEMPERATURES = [0.5, 1.0, 2.0]


def plain(chain: Chain, row: int, temperature: float) -> torch.Tensor:
    """Log-probabilities at a temperature before every written token of a row."""
    with torch.no_grad():
        logits = chain.tuned.bridge(torch.tensor([[*BEFORE[row], *WRITTEN[row]]]))[0].double()
    return (logits[len(BEFORE[row]) - 1 : -1] / temperature).log_softmax(-1)


def test_reading_at_a_temperature_equals_a_plain_forward_pass(pair: Chain) -> None:
    log_probs, entropies = read_tempered(pair.tuned, BEFORE, WRITTEN, 3, TEMPERATURES)
    assert log_probs.shape == entropies.shape == (3, 3)
    for row, temperature in enumerate(TEMPERATURES):
        read = plain(pair, row, temperature)
        for step in range(3):
            if step >= len(WRITTEN[row]):
                assert np.isnan(log_probs[row, step])
                continue
            assert log_probs[row, step] == pytest.approx(float(read[step, WRITTEN[row][step]]), abs=1e-4)
            entropy = float(-(read[step].exp() * read[step]).sum())
            assert entropies[row, step] == pytest.approx(entropy, abs=1e-4)


def test_entropy_curves_sum_over_written_tokens(pair: Chain) -> None:
    grid = np.asarray([0.5, 1.0, 3.0])
    sums, counts = entropy_curves(pair.tuned, BEFORE, WRITTEN, grid)
    assert counts.tolist() == [2.0, 0.0, 4.0]
    assert (sums[1] == 0).all()
    for column, temperature in enumerate(grid):
        read = plain(pair, 2, temperature)
        assert sums[2, column] == pytest.approx(float(-(read.exp() * read).sum()), abs=1e-3)


def test_the_temperature_of_an_entropy_is_found_again(pair: Chain) -> None:
    sums, counts = entropy_curves(pair.tuned, BEFORE, WRITTEN)
    curve = sums.sum(axis=0) / counts.sum()
    assert GRID[40] == 1.0
    assert temperature_of_entropy(curve, float(curve[40])) == 1.0
    assert (np.diff(curve) > 0).all()
    for temperature in (0.3, 0.9, 2.3):
        total = sum(float(-(p.exp() * p).sum()) for p in (plain(pair, row, temperature) for row in (0, 2)))
        assert temperature_of_entropy(curve, total / 6) == pytest.approx(temperature, rel=5e-3)
    assert temperature_of_entropy(curve, 99.0) == pytest.approx(20.0)
    assert np.isnan(temperature_of_entropy(curve, np.nan))


def test_writing_at_a_temperature_of_ones_own_equals_ordinary_decoding(pair: Chain) -> None:
    jobs = [Job(n, ids, np.random.default_rng(n).random(6), 6) for n, ids in enumerate([*BEFORE, *BEFORE])]
    temperatures = [0.5, 1.0, 2.0, 2.0, 0.5, 1.0]
    found = dict(write_changed(pair.tuned, jobs, divided_by(temperatures)))
    for temperature in (0.5, 1.0, 2.0):
        ordinary = dict(write_all(pair.tuned, jobs, temperature))
        for number in (n for n, own in enumerate(temperatures) if own == temperature):
            assert found[number] == ordinary[number]
