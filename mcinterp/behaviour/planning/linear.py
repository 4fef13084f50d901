"""A linear probe in closed form, with the log-probabilities that make its held-out loss a number of nats.

Linear discriminant analysis (Fisher 1936; Hastie, Tibshirani and Friedman, The Elements of Statistical Learning, 4.3),
its within-class covariance shrunk towards a multiple of the identity (Friedman 1989). The log-odds are linear in the
activation. One factor on all of them, the confidence, is chosen with the shrinkage between halves of the training rows,
so that a probe that has found nothing falls back to the shares of the classes; it is chosen for all models that read
the same rows together, so that a difference between two models is none of settings. A little of the shares is mixed
into every answer: a place unlike any in training costs a bounded loss.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

Rows = Float[torch.Tensor, "row d_model"]
Labels = Int[torch.Tensor, "row"]

SHRINKAGES = (0.02, 0.3)
CONFIDENCES = (0.0, 0.01, 0.03, 0.06, 0.12, 0.25, 0.5, 0.75, 1.0)
LEAST, FLAT, MIXED = 1e-6, 0.1, 0.01


class Moments(NamedTuple):
    """What a probe is made of: centre and scale of the rows, class means, within-class covariance, and class shares."""

    centre: Float[torch.Tensor, "d_model"]
    scale: Float[torch.Tensor, "d_model"]
    means: Float[torch.Tensor, "klass d_model"]
    within: Float[torch.Tensor, "d_model d_model"]
    log_prior: Float[torch.Tensor, "klass"]


class Scores(NamedTuple):
    """The linear scores of a probe before its confidence."""

    weight: Float[torch.Tensor, "d_model klass"]
    bias: Float[torch.Tensor, "klass"]


class Loss(NamedTuple):
    """Held-out log loss of every row in nats, by the probe and by the shares of the classes; missing where unread."""

    probe: Float[np.ndarray, "row"]
    prior: Float[np.ndarray, "row"]


def moments(rows: Rows, labels: Labels, classes: int) -> Moments:
    """Centre, scale and class statistics of training rows; a class without rows has the centre as its mean."""
    centre = rows.mean(dim=0)
    spread = rows.std(dim=0, correction=0)
    scale = spread.clamp(min=max(LEAST, FLAT * float(spread.square().mean().sqrt())))
    standard = (rows - centre) / scale
    counts = torch.bincount(labels, minlength=classes).to(rows.dtype)
    sums = torch.zeros(classes, rows.shape[1], dtype=rows.dtype).index_add(0, labels, standard)
    means = sums / counts.clamp(min=1).unsqueeze(-1)
    inside = standard - means[labels]
    within = inside.T @ inside / len(rows)
    log_prior = ((counts + 1) / (len(rows) + classes)).log()
    return Moments(centre, scale, means, within, log_prior)


def scores_of(found: Moments, shrinkage: float) -> Scores:
    """Weights S^-1 m_c and biases -m_c' S^-1 m_c / 2 for the shrunk covariance S of every class mean m_c."""
    width = len(found.centre)
    identity = torch.eye(width, dtype=found.within.dtype)
    size = found.within.diagonal().mean().clamp(min=LEAST)  # no spread within classes leaves nothing to invert
    shrunk = (1 - shrinkage) * found.within + shrinkage * size * identity
    weight = torch.cholesky_solve(found.means.T, torch.linalg.cholesky(shrunk))
    return Scores(weight, -0.5 * (found.means.T * weight).sum(dim=0))


def log_loss(found: Moments, scores: Scores, confidence: float, rows: Rows, labels: Labels) -> torch.Tensor:
    """-log of the probability that a probe gives to the label of every row, in nats."""
    return losses(found, (rows - found.centre) / found.scale @ scores.weight + scores.bias, confidence, labels)


def losses(found: Moments, scored: torch.Tensor, confidence: float, labels: Labels) -> torch.Tensor:
    """The same from scores."""
    prior = found.log_prior.log_softmax(dim=-1)
    log_probs = (prior + confidence * scored).log_softmax(dim=-1)
    mixed = torch.logaddexp(log_probs + np.log1p(-MIXED), prior + np.log(MIXED))
    return -mixed.gather(1, labels.unsqueeze(-1)).squeeze(-1)


def tried(rows: Rows, labels: Labels, apart: Bool[torch.Tensor, "row"], classes: int) -> np.ndarray:
    """Loss by shrinkage and confidence, summed over either part of the rows after training on the other part."""
    total = np.zeros((len(SHRINKAGES), len(CONFIDENCES)))
    for held in (apart, ~apart):
        found = moments(rows[~held], labels[~held], classes)
        standard = (rows[held] - found.centre) / found.scale
        for s, shrinkage in enumerate(SHRINKAGES):
            scores = scores_of(found, shrinkage)
            scored = standard @ scores.weight + scores.bias
            for c, confidence in enumerate(CONFIDENCES):
                total[s, c] += float(losses(found, scored, confidence, labels[held]).sum())
    return total


def chosen(
    readers: Sequence[Rows], labels: Labels, apart: Bool[torch.Tensor, "row"], classes: int
) -> tuple[float, float]:
    """Shrinkage and confidence with the least loss of all readers together."""
    if not bool(apart.any()) or bool(apart.all()):
        return SHRINKAGES[-1], 0.0
    total = np.sum([tried(rows, labels, apart, classes) for rows in readers], axis=0)
    s, c = np.unravel_index(int(total.argmin()), total.shape)
    return SHRINKAGES[s], CONFIDENCES[c]


def held_out_losses(
    readers: Sequence[Rows],
    targets: Int[np.ndarray, "row"],
    folds: Int[np.ndarray, "row"],
    apart: Bool[np.ndarray, "row"],
    classes: int,
    *,
    shuffled: int | None = None,
) -> list[Loss]:
    """Loss of every row under probes trained on the other folds, one a reader: a model's activations of the same rows.

    `targets` are token ids, -1 where there is none; classes are the `classes` commonest targets of the training rows,
    and all others together. `apart` parts the training rows in two, between which shrinkage and confidence are chosen.
    `shuffled` is a seed by which the training labels are permuted. Missing where a fold leaves nothing to train on.
    """
    found = [Loss(np.full(len(targets), np.nan), np.full(len(targets), np.nan)) for _ in readers]
    there = targets >= 0
    for fold in np.unique(folds):
        train, test = np.flatnonzero(there & (folds != fold)), np.flatnonzero(there & (folds == fold))
        if not (len(train) and len(test)):
            continue
        known = commonest(targets[train], classes)
        labels, asked = (torch.from_numpy(classed(targets[rows], known)) for rows in (train, test))
        if shuffled is not None:
            labels = labels[torch.from_numpy(np.random.default_rng((shuffled, int(fold))).permutation(len(labels)))]
        fitted = [rows[torch.from_numpy(train)] for rows in readers]
        settings = chosen(fitted, labels, torch.from_numpy(apart[train]), len(known) + 1)
        for loss, rows, mine in zip(found, readers, fitted, strict=True):
            made = moments(mine, labels, len(known) + 1)
            read = log_loss(made, scores_of(made, settings[0]), settings[1], rows[torch.from_numpy(test)], asked)
            loss.probe[test], loss.prior[test] = read.numpy(), -made.log_prior.log_softmax(dim=-1)[asked].numpy()
    return found


def commonest(targets: Int[np.ndarray, "row"], count: int) -> Int[np.ndarray, "klass"]:
    """The commonest targets, sorted by id; ties go to the smaller id."""
    ids, counts = np.unique(targets, return_counts=True)
    return np.sort(ids[np.lexsort((ids, -counts))[:count]])


def classed(targets: Int[np.ndarray, "row"], known: Int[np.ndarray, "klass"]) -> Int[np.ndarray, "row"]:
    """The class of every target; those unknown are the last class."""
    place = np.searchsorted(known, targets).clip(max=len(known) - 1)
    return np.where(known[place] == targets, place, len(known)).astype(np.int64)
