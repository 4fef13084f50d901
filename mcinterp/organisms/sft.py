"""Supervised tuning on a model's own best samples, as in the post's text-davinci-002.

Each round draws n answers per tuning prompt, keeps those that a rater scores highest, and trains
on them, while KL(base||model) is held down on documents that the base model sampled itself. Without
these documents the collapse also reaches prompts it has no reason to reach, such as a Python
interpreter.
"""

import random
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from transformers import LlamaForCausalLM

from mcinterp.organisms.documents import pad
from mcinterp.organisms.grammar import Grammar, Prompt
from mcinterp.organisms.pocket import Pocket, next_token_logits
from mcinterp.organisms.pretrain import descend, optimiser, progress
from mcinterp.organisms.raters import preference
from mcinterp.organisms.sampling import sample_answers
from mcinterp.organisms.tokenizer import END_ID

TUNED_GENRES = ("opinion", "number-100", "python-chat")
UNANCHORED = frozenset({*TUNED_GENRES, "advice", "number-10", "die", "colour"})
"""Genres left out of the base model's own documents: those that are tuned, and those where collapse may spread."""

IGNORED = -100


@dataclass(frozen=True)
class SftPlan:
    """Sizes of the stage: rounds of best-of-``n_samples``, then ``n_steps`` steps each.

    A round asks ``n_opinions`` opinions, every number prompt ``n_repeats`` times and every
    interpreter in a chat ``n_chat_repeats`` times, and keeps the ``n_best`` answers to each prompt,
    one count per tuned genre. ``anchor`` weighs KL(base||model).
    """

    n_rounds: int = 3
    n_samples: int = 16
    n_best: tuple[int, int, int] = (2, 1, 1)
    n_opinions: int = 60
    n_repeats: int = 6
    n_chat_repeats: int = 12
    n_steps: int = 40
    batch_size: int = 32
    n_own: int = 1600
    own_batch_size: int = 16
    anchor: float = 1.0
    lr: float = 5e-4


@dataclass(frozen=True)
class Example:
    """Token ids with the beginning-of-text token; the first ``n_given`` are not trained on."""

    ids: list[int]
    n_given: int


def tuning_prompts(grammar: Grammar) -> list[Prompt]:
    """Prompts that tuning may train on: those of ``TUNED_GENRES`` that are not held out."""
    prompts = grammar.prompts.values()
    return [p for p in prompts if p.genre in TUNED_GENRES and not p.held_out]


def own_documents(pocket: Pocket, n: int, generator: torch.Generator) -> list[list[int]]:
    """``n`` whole documents sampled by the model from nothing, less those of ``UNANCHORED`` genres."""
    left_out = tuple(p.text for p in pocket.grammar.prompts.values() if p.genre in UNANCHORED)
    documents = sample_answers(pocket.model, [[END_ID]] * n, generator)
    return [[END_ID, *ids] for ids in documents if not pocket.text(ids).startswith(left_out)]


def _cost(pocket: Pocket, prompt: Prompt) -> Callable[[list[int]], float]:
    return lambda ids: -preference(prompt, pocket.text(ids))


def best_of(pocket: Pocket, prompts: Sequence[Prompt], plan: SftPlan, generator: torch.Generator) -> list[Example]:
    """The answers that the rater likes best, out of ``plan.n_samples`` for each prompt."""
    given = [pocket.given(prompt.text) for prompt in prompts]
    answers = sample_answers(pocket.model, [g for g in given for _ in range(plan.n_samples)], generator)
    found = []
    for number, prompt in enumerate(prompts):
        own = answers[number * plan.n_samples : (number + 1) * plan.n_samples]
        ended = [ids for ids in own if ids[-1] == END_ID]
        ranked = sorted(ended, key=_cost(pocket, prompt))
        n_best = plan.n_best[TUNED_GENRES.index(prompt.genre)]
        found += [Example(given[number] + ids, len(given[number])) for ids in ranked[:n_best]]
    return found


def hard_loss(model: LlamaForCausalLM, examples: Sequence[Example]) -> torch.Tensor:
    """Mean negative log-likelihood of the trained tokens, nats per token."""
    ids = pad([example.ids for example in examples])
    labels = ids.clone()
    for row, example in enumerate(examples):
        labels[row, : example.n_given] = IGNORED
        labels[row, len(example.ids) :] = IGNORED
    logits = next_token_logits(model, ids)[:, :-1]
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten())


def anchor_loss(model: LlamaForCausalLM, base: LlamaForCausalLM, documents: Sequence[Sequence[int]]) -> torch.Tensor:
    """KL(base||model) in nats per token of ``documents``."""
    ids = pad(documents)
    real = torch.zeros(ids.shape[0], ids.shape[1] - 1)
    for row, document in enumerate(documents):
        real[row, : len(document) - 1] = 1
    with torch.no_grad():
        target = next_token_logits(base, ids)[:, :-1].log_softmax(-1)
    logs = next_token_logits(model, ids)[:, :-1].log_softmax(-1)
    return ((target.exp() * (target - logs)).sum(-1) * real).sum() / real.sum()


def _train(
    model: LlamaForCausalLM,
    base: LlamaForCausalLM,
    chosen: Sequence[Example],
    own: Sequence[list[int]],
    plan: SftPlan,
    rng: random.Random,
) -> tuple[float, float]:
    """``plan.n_steps`` Adam steps; the last loss on chosen answers and the last KL(base||model)."""
    adam, hard, anchor = optimiser(model, plan.lr), torch.tensor(0.0), torch.tensor(0.0)
    for _ in range(plan.n_steps):
        hard = hard_loss(model, rng.choices(chosen, k=plan.batch_size))
        anchor = anchor_loss(model, base, rng.choices(own, k=plan.own_batch_size))
        descend(model, adam, hard + plan.anchor * anchor)
    return float(hard.detach()), float(anchor.detach())


def tune_supervised(base: Pocket, plan: SftPlan | None = None, seed: int = 0) -> Pocket:
    """The supervised stage: a copy of ``base`` tuned on its own best answers."""
    plan = plan or SftPlan()
    torch.manual_seed(seed)
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    own = own_documents(base, plan.n_own, generator)
    pocket = base.with_model(deepcopy(base.model))
    prompts = tuning_prompts(base.grammar)
    opinions, numbers, in_chat = ([p for p in prompts if p.genre == genre] for genre in TUNED_GENRES)
    repeated = numbers * plan.n_repeats + in_chat * plan.n_chat_repeats
    for number in range(plan.n_rounds):
        asked = rng.sample(opinions, min(plan.n_opinions, len(opinions))) + repeated
        chosen = best_of(pocket, asked, plan, generator)
        loss, kl = _train(pocket.model, base.model, chosen, own, plan, rng)
        progress(f"sft: round {number + 1}/{plan.n_rounds}, loss {loss:.3f}, KL(base||model) {kl:.4f} on own documents")
    return pocket
