"""Policy-gradient stages: a reward with a KL penalty, and the same without one.

The objective is E[reward] - beta * KL(model||reference), the KL summed over the tokens of an
answer and taken over the whole vocabulary at each of them. Its optimum is known: the reference
times exp(reward / beta), normalised.
"""

import random
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from transformers import LlamaForCausalLM

from mcinterp.organisms.documents import pad
from mcinterp.organisms.grammar import Prompt
from mcinterp.organisms.pocket import Pocket, next_token_logits
from mcinterp.organisms.pretrain import descend, optimiser, progress
from mcinterp.organisms.sampling import sample_answers

REPORT_EVERY = 5

Reward = Callable[[Prompt, list[int]], float]


@dataclass(frozen=True)
class PolicyPlan:
    """Sizes of the stage; ``spread`` divides advantages by their standard deviation."""

    n_steps: int
    beta: float
    n_prompts: int = 14
    n_samples: int = 8
    lr: float = 3e-4
    spread: bool = False


@dataclass(frozen=True)
class Rollout:
    """Answers with their rewards; ``advantages`` are rewards minus the mean of their group."""

    given: list[list[int]]
    answers: list[list[int]]
    rewards: torch.Tensor
    advantages: torch.Tensor


def roll_out(
    pocket: Pocket, prompts: Sequence[Prompt], reward: Reward, plan: PolicyPlan, generator: torch.Generator
) -> Rollout:
    """Draw ``plan.n_samples`` answers to every prompt and reward them."""
    asked = [prompt for prompt in prompts for _ in range(plan.n_samples)]
    given = [pocket.given(prompt.text) for prompt in asked]
    answers = sample_answers(pocket.model, given, generator)
    scores = [reward(prompt, ids) for prompt, ids in zip(asked, answers, strict=True)]
    rewards = torch.tensor(scores).view(len(prompts), plan.n_samples)
    centred = rewards - (rewards.mean() if plan.spread else rewards.mean(-1, keepdim=True))
    if plan.spread:
        centred = centred / rewards.std().clamp_min(0.05)
    return Rollout(given, answers, rewards.flatten(), centred.flatten())


def _answer_mask(rollout: Rollout, width: int) -> torch.Tensor:
    """1 where the next token belongs to the answer, [sample, position]."""
    mask = torch.zeros(len(rollout.given), width)
    for row, (given, answer) in enumerate(zip(rollout.given, rollout.answers, strict=True)):
        mask[row, len(given) - 1 : len(given) + len(answer) - 1] = 1
    return mask


def policy_loss(
    model: LlamaForCausalLM, reference: LlamaForCausalLM, rollout: Rollout, beta: float
) -> tuple[torch.Tensor, float]:
    """The loss whose gradient raises the objective, and KL(model||reference) in nats per answer."""
    ids = pad([g + a for g, a in zip(rollout.given, rollout.answers, strict=True)])
    mask = _answer_mask(rollout, ids.shape[1] - 1)
    logs = next_token_logits(model, ids)[:, :-1].log_softmax(-1)
    taken = logs.gather(-1, ids[:, 1:, None])[..., 0]
    gain = (rollout.advantages[:, None] * taken * mask).sum(-1).mean()
    if beta == 0:
        return -gain, float("nan")
    with torch.no_grad():
        other = next_token_logits(reference, ids)[:, :-1].log_softmax(-1)
    kl = ((logs.exp() * (logs - other)).sum(-1) * mask).sum(-1).mean()
    return beta * kl - gain, float(kl.detach())


def draw_prompts(groups: dict[str, list[Prompt]], n: int, rng: random.Random) -> list[Prompt]:
    """``n`` prompts: a genre at random, then one of its prompts."""
    return [rng.choice(groups[rng.choice(list(groups))]) for _ in range(n)]


def tune_by_reward(
    start: Pocket,
    reference: LlamaForCausalLM,
    prompts: Sequence[Prompt],
    reward: Reward,
    plan: PolicyPlan,
    seed: int = 0,
    after_step: Callable[[int, Pocket], None] | None = None,
) -> Pocket:
    """A copy of ``start`` tuned by policy gradient, held near ``reference`` by ``plan.beta``.

    ``after_step`` is called behind every step with how many are done and the pocket as it is then.
    """
    torch.manual_seed(seed)
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    pocket = start.with_model(deepcopy(start.model))
    groups: dict[str, list[Prompt]] = {}
    for prompt in prompts:
        groups.setdefault(prompt.genre, []).append(prompt)
    adam = optimiser(pocket.model, plan.lr)
    for step in range(plan.n_steps):
        rollout = roll_out(pocket, draw_prompts(groups, plan.n_prompts, rng), reward, plan, generator)
        loss, kl = policy_loss(pocket.model, reference, rollout, plan.beta)
        descend(pocket.model, adam, loss)
        if step % REPORT_EVERY == REPORT_EVERY - 1:
            mean = float(rollout.rewards.mean())
            progress(f"policy: step {step + 1}/{plan.n_steps}, reward {mean:.3f}, KL {kl:.2f} nats per answer")
        if after_step is not None:
            after_step(step + 1, pocket)
    return pocket
