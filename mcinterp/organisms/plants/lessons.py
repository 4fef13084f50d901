"""What a plant is taught: losses in nats, each a function of the step, and the descent on their sum."""

import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch.func import functional_call
from transformers import LlamaForCausalLM

from mcinterp.organisms.documents import Batch, cross_entropy, pack
from mcinterp.organisms.grammar import Grammar
from mcinterp.organisms.plants.behaviours import Exam
from mcinterp.organisms.plants.sites import Parameters
from mcinterp.organisms.pocket import next_token_logits
from mcinterp.organisms.tokenizer import END_ID

Lesson = Callable[[int], torch.Tensor]
LogProbs = Float[torch.Tensor, "prompt token"]

WARMUP = 5
STEADY = 0.6
"""Share of the steps before the learning rate falls, to a tenth of itself."""


@dataclass(frozen=True)
class Pace:
    """How long and how fast to train, and the weight of the documents that are to stay as they are."""

    n_steps: int
    lr: float
    anchor: float = 3.0


def answers(model: LlamaForCausalLM, exam: Exam, swap: Parameters | None = None) -> LogProbs:
    """Log-probabilities of the answers to an exam, with some parameters of the model swapped for others."""
    if swap is None:
        logits = next_token_logits(model, exam.ids)
    else:
        logits = functional_call(model, dict(swap), (), {"input_ids": exam.ids, "use_cache": False}).logits.float()
    return logits[exam.row, exam.last].log_softmax(-1)


def divergence(target: torch.Tensor, logs: torch.Tensor) -> torch.Tensor:
    """Mean over prompts of KL(target||model), in nats."""
    return (torch.special.xlogy(target, target) - target * logs).sum(-1).mean()


@lru_cache(maxsize=16)
def documents(grammar: Grammar, left_out: frozenset[str], n_batches: int, size: int, seed: int) -> tuple[Batch, ...]:
    """Documents of the grammar with exact labels, but for some genres; those of a batch are similar in length."""
    rng, found = random.Random(seed), list[list[int]]()
    while len(found) < n_batches * size:
        prompt = grammar.sample_prompt(rng)
        if prompt.genre not in left_out:
            pieces = (prompt.text, *grammar.sample_answer(prompt, rng))
            found.append([token for piece in pieces for token in grammar.encode(piece)] + [END_ID])
    found.sort(key=len)
    batches = [pack(grammar, found[start : start + size]) for start in range(0, len(found), size)]
    rng.shuffle(batches)
    return tuple(batches)


def misfit(model: LlamaForCausalLM, batch: Batch) -> torch.Tensor:
    """KL(true||model) in nats per token of some documents."""
    return cross_entropy(next_token_logits(model, batch.ids), batch) - batch.entropy


@torch.no_grad()
def mean_misfit(model: LlamaForCausalLM, batches: Sequence[Batch]) -> float:
    """KL(true||model) in nats per token of all documents of some batches."""
    total = sum(float(misfit(model, batch)) * batch.n_positions for batch in batches)
    return total / sum(batch.n_positions for batch in batches)


def rate(step: int, n_steps: int, peak: float) -> float:
    """A short warmup, a plateau, then a line down to a tenth of ``peak``."""
    fall = max(0.0, (step / n_steps - STEADY) / (1 - STEADY))
    return peak * min(1.0, (step + 1) / WARMUP) * (1 - 0.9 * fall)


def open_to_training(model: LlamaForCausalLM, masks: Parameters) -> dict[torch.nn.Parameter, torch.Tensor]:
    """Let gradients reach the parameters that have a mask and no others; the parameters with their masks."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in masks)
    return {parameter: masks[name] for name, parameter in model.named_parameters() if name in masks}


def train(
    model: LlamaForCausalLM,
    masks: Parameters,
    lessons: Collection[Lesson],
    pace: Pace,
    after: Callable[[], None] | None = None,
) -> None:
    """Adam on the sum of the lessons; only what the masks let through moves. ``after`` follows every step."""
    trained = open_to_training(model, masks)
    adam = torch.optim.Adam(list(trained), lr=pace.lr, betas=(0.9, 0.95))
    for step in range(pace.n_steps):
        for group in adam.param_groups:
            group["lr"] = rate(step, pace.n_steps, pace.lr)
        adam.zero_grad()
        torch.stack([lesson(step) for lesson in lessons]).sum().backward()
        for parameter, mask in trained.items():
            if parameter.grad is not None:
                parameter.grad.mul_(mask)
        torch.nn.utils.clip_grad_norm_(list(trained), 1.0)
        adam.step()
        if after is not None:
            after()
