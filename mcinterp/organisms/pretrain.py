"""Pretraining of the base checkpoint on exact soft labels."""

import math
import random
import sys
import time
from dataclasses import dataclass

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from mcinterp.organisms.documents import cross_entropy, stream
from mcinterp.organisms.pocket import Pocket, grammar_of, next_token_logits
from mcinterp.organisms.tokenizer import CONTEXT, END_ID, PAD_ID

REPORT_EVERY = 50


@dataclass(frozen=True)
class Architecture:
    """Sizes of a Llama model; the defaults are those of the shipped checkpoints."""

    n_layers: int = 6
    d_model: int = 128
    n_heads: int = 4
    d_mlp: int = 320


def pocket_config(vocabulary_size: int, architecture: Architecture) -> LlamaConfig:
    """The configuration of a pocket checkpoint: untied, one key-value head per head."""
    return LlamaConfig(
        num_hidden_layers=architecture.n_layers,
        hidden_size=architecture.d_model,
        num_attention_heads=architecture.n_heads,
        num_key_value_heads=architecture.n_heads,
        intermediate_size=architecture.d_mlp,
        vocab_size=vocabulary_size,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=False,
        bos_token_id=END_ID,
        eos_token_id=END_ID,
        pad_token_id=PAD_ID,
    )


def optimiser(model: torch.nn.Module, lr: float) -> torch.optim.AdamW:
    """AdamW with weight decay on matrices only."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": 0.01}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.95))


def descend(model: torch.nn.Module, adam: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    """One optimiser step on ``loss``, the gradient clipped to norm one."""
    adam.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    adam.step()


def learning_rate(step: int, n_steps: int, peak: float, warmup: int = 40) -> float:
    """Linear warmup, then a cosine down to one fiftieth of ``peak``."""
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1, n_steps - warmup)
    return peak * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))


def progress(message: str) -> None:
    """Write one line of progress to standard error."""
    print(message, file=sys.stderr, flush=True)


def pretrain(
    tokenizer: PreTrainedTokenizerFast,
    architecture: Architecture,
    n_steps: int = 2400,
    batch_size: int = 64,
    peak_lr: float = 3e-3,
    seed: int = 0,
) -> tuple[Pocket, list[float]]:
    """Train a model on documents of the grammar; returns it with KL(true||model) per step, in nats."""
    torch.manual_seed(seed)
    model = LlamaForCausalLM(pocket_config(len(tokenizer), architecture)).train()
    grammar, adam = grammar_of(tokenizer), optimiser(model, peak_lr)
    batches = stream(grammar, batch_size, random.Random(seed))
    losses: list[float] = []
    began = time.monotonic()
    for step in range(n_steps):
        for group in adam.param_groups:
            group["lr"] = learning_rate(step, n_steps, peak_lr)
        batch = next(batches)
        loss = cross_entropy(next_token_logits(model, batch.ids), batch)
        descend(model, adam, loss)
        losses.append(float(loss.detach()) - batch.entropy)
        if step % REPORT_EVERY == REPORT_EVERY - 1:
            mean = sum(losses[-REPORT_EVERY:]) / REPORT_EVERY
            progress(f"base: step {step + 1}/{n_steps}, KL {mean:.4f}, {time.monotonic() - began:.0f} s")
    return Pocket(model.eval(), tokenizer, grammar), losses
