"""How often classes of outputs occur in a pool of samples: what the commonest hold, and what was never seen.

Every function gives one value a sample, whose mean over the pool is the measure; so the part of each prompt is known.
"""

import numpy as np
from jaxtyping import Bool, Float, Int

Labels = Int[np.ndarray, "*pool"]
TOP = 25


def class_sizes(labels: Labels) -> Int[np.ndarray, "*pool"]:
    """How many samples of the pool are of the same class as each."""
    _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return counts[inverse].reshape(labels.shape)


def in_top(labels: Labels, top: int = TOP) -> Bool[np.ndarray, "*pool"]:
    """Whether each sample is of one of the `top` commonest classes; their share of the pool is the mean.

    From "Mysteries of mode collapse": over 90 % of 1008 jokes were the same 25 (Jentzsch and Kersting 2023). Of equally
    common classes those with the smaller number count first.
    """
    values, counts = np.unique(labels, return_counts=True)
    best = values[np.argsort(-counts, kind="stable")[:top]]
    return np.isin(labels, best)


def alone(labels: Labels) -> Bool[np.ndarray, "*pool"]:
    """Whether each sample is the only one of its class.

    The mean estimates the probability that the next sample is of a class not seen yet (Good 1953, after Turing).
    """
    return class_sizes(labels) == 1


def surprise(labels: Labels) -> Float[np.ndarray, "*pool"]:
    """-log of the share of each sample's class in the pool, in nats; the mean is the entropy H of the classes.

    exp(H) is the effective number of classes (Hill 1973, order 1). It is the plug-in estimate: too low where many
    classes are still unseen, so compare pools of one size only.
    """
    return np.log(labels.size / class_sizes(labels))


def effective_number(labels: Labels) -> float:
    """exp(H) over the classes, between 1 and their number."""
    return float(np.exp(surprise(labels).mean()))
