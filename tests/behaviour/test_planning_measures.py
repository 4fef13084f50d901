"""Linear probes on planted codes and on noise, and the targets, lines and halves of texts by hand."""

import numpy as np
import pytest
import torch

from mcinterp.behaviour.planning.linear import (
    CONFIDENCES,
    MIXED,
    chosen,
    classed,
    commonest,
    held_out_losses,
    log_loss,
    moments,
    scores_of,
)
from mcinterp.behaviour.planning.settings import Planning
from mcinterp.behaviour.planning.targets import ahead_names, halves, lines, targets_of
from mcinterp.errors import InputError

ROWS, WIDTH, TOKENS, LAYERS = 900, 11, 5, 3
AHEAD = (1, 2, 3)


@pytest.fixture(scope="module")
def planted() -> tuple[list[torch.Tensor], np.ndarray]:
    """Activations of three layers, the second of which holds the token 2 ahead as a linear code; and the tokens."""
    random = np.random.default_rng(3)
    tokens = random.integers(TOKENS, size=ROWS + max(AHEAD))
    layers = [torch.from_numpy(random.standard_normal((ROWS, WIDTH)).astype(np.float32)) for _ in range(LAYERS)]
    code = torch.from_numpy(random.standard_normal((TOKENS, WIDTH)).astype(np.float32))
    layers[1] = layers[1] + 2.0 * code[torch.from_numpy(tokens[2 : ROWS + 2])]
    return layers, tokens


def parts() -> tuple[np.ndarray, np.ndarray]:
    """Two halves of the rows, each parted in two."""
    return np.arange(ROWS) % 2, np.arange(ROWS) // 2 % 2 == 1


def share(rows: torch.Tensor, targets: np.ndarray, shuffled: int | None = None) -> float:
    """The share of the classes' loss that a probe takes off."""
    (loss,) = held_out_losses([rows], targets, *parts(), TOKENS, shuffled=shuffled)
    return 1.0 - float(loss.probe.mean() / loss.prior.mean())


def test_a_planted_code_is_found_at_its_layer_and_distance_and_nowhere_else(planted) -> None:
    layers, tokens = planted
    found = {(n, k): share(rows, tokens[k : ROWS + k]) for n, rows in enumerate(layers) for k in AHEAD}
    assert found.pop((1, 2)) > 0.9
    assert all(abs(each) < 0.02 for each in found.values()), found


def test_permuted_targets_give_nothing(planted) -> None:
    layers, tokens = planted
    assert abs(share(layers[1], tokens[2 : ROWS + 2], shuffled=1)) < 0.02


def test_equal_readers_have_equal_losses_and_a_missing_target_none(planted) -> None:
    layers, tokens = planted
    targets = np.where(np.arange(ROWS) % 7 == 0, -1, tokens[2 : ROWS + 2])
    one, two = held_out_losses([layers[1], layers[1].clone()], targets, *parts(), TOKENS)
    np.testing.assert_array_equal(one.probe, two.probe)
    np.testing.assert_array_equal(np.isnan(one.probe), targets < 0)
    np.testing.assert_array_equal(np.isnan(one.prior), targets < 0)


def test_the_posterior_is_that_of_gaussians_with_one_covariance() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(400, 4, generator=generator, dtype=torch.float64)
    labels = torch.randint(3, (400,), generator=generator)
    rows[torch.arange(400), labels] += 1.5
    made = moments(rows, labels, 3)
    loss = log_loss(made, scores_of(made, 0.0), 1.0, rows, labels)
    standard = (rows - made.centre) / made.scale
    normals = [torch.distributions.MultivariateNormal(mean, made.within) for mean in made.means]
    joint = torch.stack([n.log_prob(standard) for n in normals], dim=1) + made.log_prior
    plain = joint.log_softmax(dim=1).exp() * (1 - MIXED) + MIXED * made.log_prior.softmax(dim=0)
    torch.testing.assert_close(loss, -plain[torch.arange(400), labels].log(), rtol=1e-4, atol=1e-4)


def test_without_confidence_a_probe_says_the_shares_of_the_classes() -> None:
    rows, labels = torch.randn(30, 4), torch.arange(30) % 3
    made = moments(rows, labels, 4)
    loss = log_loss(made, scores_of(made, 0.1), 0.0, rows, labels)
    torch.testing.assert_close(loss, torch.full((30,), float(-np.log(11 / 34))))
    assert chosen([rows], labels, torch.zeros(30, dtype=torch.bool), 4)[1] == CONFIDENCES[0]


def test_a_place_unlike_training_costs_a_bounded_loss() -> None:
    rows, labels = torch.randn(60, 4) * 0.01, torch.arange(60) % 2
    made = moments(rows, labels, 2)
    far = log_loss(made, scores_of(made, 0.02), 1.0, torch.full((1, 4), 1e4), torch.tensor([1]))
    assert float(far) <= np.log(2 / MIXED) + 1e-3


def test_rows_that_are_all_alike_or_alone_in_their_class_are_fitted() -> None:
    for rows, labels in ((torch.ones(6, 4), torch.arange(6) % 2), (torch.randn(3, 4), torch.arange(3))):
        made = moments(rows, labels, 3)
        assert bool(log_loss(made, scores_of(made, 0.02), 1.0, rows, labels).isfinite().all())


def test_classes_are_the_commonest_targets_and_the_rest() -> None:
    targets = np.asarray([7, 7, 2, 9, 9, 4])
    np.testing.assert_array_equal(commonest(targets, 3), [2, 7, 9])
    np.testing.assert_array_equal(classed(np.asarray([9, 5, 2, 11]), np.asarray([2, 7, 9])), [2, 3, 0, 3])


def test_targets_are_the_tokens_ahead_and_the_last_word_of_the_next_line() -> None:
    tokens = ["Q", ":", " I", " am", " here", ".", "\n", "A", " dog", "!", " So"]
    found = targets_of(2, range(11), tokens, (1, 3))
    assert ahead_names((1, 3)) == ["1", "3", "line end"]
    assert found[:, 0].tolist() == [2, 3, 4, 5, 6, 7, 8, 9, 10, -1]
    assert found[:, 1].tolist() == [4, 5, 6, 7, 8, 9, 10, -1, -1, -1]
    assert found[:, 2].tolist() == [4, -1, -1, -1, -1, 8, -1, -1, -1, -1]
    assert lines(2, tokens) == [(1, 4), (6, 8)]


def test_halves_hold_whole_templates_of_every_genre() -> None:
    templates = ["a", "a", "b", "b", "c", "d", "e", "f"]
    genres = ["x", "x", "x", "x", "y", "y", "y", "y"]
    folds, apart = halves(templates, genres)
    assert folds.tolist() == [0, 0, 1, 1, 0, 1, 0, 1]
    assert apart.tolist() == [False, False, False, False, True, True, False, False]
    folds, apart = halves(["a", "a", "b", "b"], ["x"] * 4)
    assert folds.tolist() == [0, 0, 1, 1]
    assert apart.tolist() == [False, True, False, True]


def test_layers_are_evenly_spaced_with_the_last_and_bad_settings_are_refused() -> None:
    assert Planning(layers=3).chosen_layers(6) == [1, 3, 5]
    assert Planning(layers=9).chosen_layers(2) == [0, 1]
    with pytest.raises(InputError, match="all numbers must be 1 or more"):
        Planning(ahead=(0,))
