"""How a checkpoint turns a residual stream into logits: final norm, unembedding, scaling, softcap.

Kept apart from the model so that any layer's residual, and another checkpoint's, can be read by it.
"""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float

from mcinterp.divergence import log_probs
from mcinterp.errors import InputError

Residual = Float[torch.Tensor, "*batch d_model"]
Logits = Float[torch.Tensor, "*batch vocabulary"]

VOCABULARY_BLOCK = 16_384
TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-6}


@dataclass(frozen=True)
class Readout:
    """The final norm (its statistics recomputed for whatever it is given), the unembedding, and what follows it.

    `logits = cap(multiplier * (norm(residual) @ W_U + b_U))`, cap(x) = softcap * tanh(x / softcap) where there is
    one. The norm and the product are in float32 whatever the checkpoint's dtype.
    """

    norm: torch.nn.Module
    weight: Float[torch.Tensor, "vocabulary d_model"]
    bias: Float[torch.Tensor, "vocabulary"] | None
    multiplier: float
    softcap: float | None
    vocabulary: int

    def __call__(self, residual: Residual) -> Logits:
        """Logits of the common vocabulary, float32, on the readout's device."""
        normed = self.norm(residual.to(self.weight.device, torch.float32))
        return self.finish(self.product(normed))

    def log_probs(self, residual: Residual) -> Logits:
        """Log-probabilities of the common vocabulary."""
        return log_probs(self(residual))

    def product(self, normed: Residual) -> Logits:
        """The unembedding's product, by blocks of the vocabulary where the weights need widening to float32."""
        weight = self.weight[: self.vocabulary]
        if weight.dtype == torch.float32:
            return torch.nn.functional.linear(normed, weight)
        blocks = weight.split(VOCABULARY_BLOCK)
        return torch.cat([torch.nn.functional.linear(normed, block.float()) for block in blocks], dim=-1)

    def finish(self, product: Logits) -> Logits:
        """Bias, multiplier and softcap on the product of the unembedding."""
        if self.bias is not None:
            product = product + self.bias[: self.vocabulary].float()
        product = product * self.multiplier
        return product if self.softcap is None else self.softcap * torch.tanh(product / self.softcap)


def readout_of(bridge: Any, vocabulary: int) -> Readout:
    """The readout of a loaded bridge, cut to the first `vocabulary` tokens."""
    unembedding = bridge.unembed.original_component
    config = text_config(bridge.original_model.config)
    bias = getattr(unembedding, "bias", None)
    return Readout(
        norm=copy.deepcopy(bridge.ln_final.original_component).float().requires_grad_(False),
        weight=unembedding.weight.detach(),
        bias=bias.detach() if bias is not None and bool(bias.any()) else None,
        multiplier=logit_multiplier(config),
        softcap=getattr(config, "final_logit_softcapping", None),
        vocabulary=vocabulary,
    )


def text_config(config: Any) -> Any:
    """The language model's part of a configuration that may hold several."""
    return config.get_text_config() if hasattr(config, "get_text_config") else config


def logit_multiplier(config: Any) -> float:
    """What its logits are multiplied with: Cohere's `logit_scale`, the inverse of Granite's `logits_scaling`."""
    return float(getattr(config, "logit_scale", None) or 1.0) / float(getattr(config, "logits_scaling", None) or 1.0)


def assert_reads_like_the_model(
    stage: str, readout: Readout, residual: Residual, logits: Logits, dtype: torch.dtype
) -> None:
    """Refuse a readout whose log-probabilities at the last layer are not the model's own.

    Compares the readout of the last residual with the logits of the same forward pass; the tolerance is 1e-3 nats in
    float32 and wider for the rounding of half precisions.
    """
    own = log_probs(logits[..., : readout.vocabulary])
    error = (readout.log_probs(residual) - own.to(readout.weight.device)).abs()
    likely = own.to(readout.weight.device) > -15.0
    worst = float(error[likely].max())
    if not worst <= TOLERANCE.get(dtype, 0.5):
        raise InputError(
            f"stage {stage!r}: the final norm and unembedding give log-probabilities {worst:.2g} nats away from the "
            f"model's own, so its architecture reads out in a way this library does not know; please report it."
        )
