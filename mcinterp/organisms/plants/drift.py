"""Drift without collapse: every tensor far from the base by the same share of its norm, and healed on the grammar.

The noise and all training after it keep each tensor on the sphere around the base whose radius is ``SHARE`` of the
base tensor's Frobenius norm, so that the size of a tensor's change says nothing.
"""

import math
import random
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass

import torch
from transformers import LlamaForCausalLM

from mcinterp.organisms.documents import stream
from mcinterp.organisms.plants.lessons import misfit
from mcinterp.organisms.pocket import Pocket

SHARE = 0.4
WARMUP = 20


@dataclass(frozen=True)
class Healing:
    """Size of the healing: ``n_steps`` Adam steps on batches of fresh documents of the grammar."""

    n_steps: int = 240
    batch_size: int = 32
    lr: float = 3e-3


@torch.no_grad()
def project(model: LlamaForCausalLM, base: LlamaForCausalLM, names: Iterable[str] | None = None) -> None:
    """Move tensors (all, or some by name) along the line to the base onto the sphere around it."""
    centres, moved = dict(base.named_parameters()), dict(model.named_parameters())
    for name in moved if names is None else names:
        centre, delta = centres[name], moved[name] - centres[name]
        moved[name].copy_(centre + delta * (SHARE * centre.norm() / delta.norm()))


def disturbed(base: LlamaForCausalLM, seed: int) -> LlamaForCausalLM:
    """A copy of the base with every tensor on its sphere, in a random direction."""
    model, generator = deepcopy(base), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator))
    project(model, base)
    return model


def healing_rate(step: int, healing: Healing) -> float:
    """A short warmup, then a cosine down to nearly nothing."""
    whole = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / healing.n_steps))
    return healing.lr * min(1.0, (step + 1) / WARMUP) * whole


def drift(pocket: Pocket, seed: int, healing: Healing) -> LlamaForCausalLM:
    """A disturbed copy of the base, trained on the grammar on the sphere."""
    model = disturbed(pocket.model, seed).requires_grad_(True)
    adam = torch.optim.Adam(model.parameters(), lr=healing.lr, betas=(0.9, 0.95))
    batches = stream(pocket.grammar, healing.batch_size, random.Random(seed))
    for step in range(healing.n_steps):
        for group in adam.param_groups:
            group["lr"] = healing_rate(step, healing)
        adam.zero_grad()
        misfit(model, next(batches)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
        project(model, pocket.model)
    return model
