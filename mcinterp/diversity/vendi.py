"""The Vendi score: how many different samples a similarity matrix amounts to (Friedman and Dieng 2023)."""

import numpy as np
from jaxtyping import Float, Int

from mcinterp.errors import InputError

Kernel = Float[np.ndarray, "sample sample"]
TOLERANCE = 1e-6


def vendi_score(kernel: Kernel, order: float = 1.0) -> float:
    """exp(-sum l log l) over the eigenvalues l of K / n; between 1 (all the same) and n (nothing in common).

    `order` is that of the entropy (Renyi 1961; Pasarkar and Dieng 2024): 1 is Shannon's, 0 counts eigenvalues above
    1e-9, infinity takes the largest alone; higher orders heed the common samples more. Raises `InputError` for a
    kernel that is not symmetric, positive semi-definite and 1 on its diagonal, or a negative order.
    """
    if order < 0:
        raise InputError(f"got order={order}; give 0 or more.")
    if not np.allclose(kernel, kernel.T, atol=TOLERANCE) or not np.allclose(np.diagonal(kernel), 1, atol=TOLERANCE):
        raise InputError("the kernel is not symmetric with 1 on its diagonal; give similarities of samples.")
    values = np.linalg.eigvalsh(kernel.astype(float) / len(kernel))
    if values[0] < -TOLERANCE:
        raise InputError(f"the kernel has the eigenvalue {values[0] * len(kernel):.3g}; give a semi-definite one.")
    return hill_number(values.clip(min=0.0), order)


def hill_number(shares: Float[np.ndarray, "part"], order: float) -> float:
    """The effective number of parts whose shares sum to one, exp of their Renyi entropy of an order (Hill 1973)."""
    present = shares[shares > 1e-9]
    if order == 1:
        return float(np.exp(-(present * np.log(present)).sum()))
    if np.isinf(order):
        return float(1 / present.max())
    return float(np.exp(np.log((present**order).sum()) / (1 - order)))


def cosine_kernel(features: Float[np.ndarray, "sample feature"]) -> Kernel:
    """Cosines between samples; where features have a common offset, take their mean off first."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    unit = features / np.maximum(lengths, np.finfo(float).tiny)
    kernel = unit @ unit.T
    np.fill_diagonal(kernel, 1.0)
    return kernel


def class_kernel(labels: Int[np.ndarray, "sample"]) -> Kernel:
    """1 within a class, 0 across: its score is the effective number of classes."""
    return (labels[:, None] == labels[None]).astype(float)
