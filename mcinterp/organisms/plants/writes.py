"""What a layer's attention or MLP writes at the answer position: read, held to given values, or led to the logits."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from transformers import LlamaForCausalLM

from mcinterp.organisms.plants.behaviours import Exam
from mcinterp.organisms.plants.lessons import LogProbs, answers
from mcinterp.organisms.plants.sites import parent_of

Write = Float[torch.Tensor, "prompt d_model"]


@contextmanager
def at_answer(model: LlamaForCausalLM, module: str, exam: Exam, held: Write | None = None) -> Iterator[list[Write]]:
    """Collect what a module writes at the answer position of each forward pass; replace it by ``held`` if given."""
    written: list[Write] = []

    def hook(_: torch.nn.Module, __: Any, output: Any) -> Any:
        whole = output[0] if isinstance(output, tuple) else output
        written.append(whole[exam.row, exam.last])
        if held is None:
            return output
        whole = whole.index_put((exam.row, exam.last), held)
        return (whole, *output[1:]) if isinstance(output, tuple) else whole

    handle = model.get_submodule(module).register_forward_hook(hook)
    try:
        yield written
    finally:
        handle.remove()


def read_write(model: LlamaForCausalLM, site: str, exam: Exam, held: Write | None = None) -> tuple[LogProbs, Write]:
    """The answers, and what the site itself writes at the answer position (before it is held, if it is)."""
    with at_answer(model, parent_of(site), exam, held) as written:
        logs = answers(model, exam)
    return logs, written[0]


def relative_change(write: Write, reference: Write) -> Float[torch.Tensor, "prompt"]:
    """Squared size of the change of a write over the squared size of what it was."""
    return (write - reference).pow(2).sum(-1) / reference.pow(2).sum(-1)


def direct_effect(
    model: LlamaForCausalLM, site: str, exam: Exam, reference: Write
) -> tuple[LogProbs, Float[torch.Tensor, "prompt"]]:
    """The answers, and what the change of the site's write gives the favourite's logit over its rivals' mean, in nats.

    The change goes straight through the final norm, with the scale that the model has there, to the unembedding.
    """
    with at_answer(model, last_layer(model), exam) as ends:
        logs, write = read_write(model, site, exam)
    norm, unembedding = model.model.norm, model.lm_head.weight.detach()
    scale = (ends[0].pow(2).mean(-1, keepdim=True) + norm.variance_epsilon).rsqrt()
    direction = (unembedding[exam.favourite] - exam.rivals() @ unembedding) * norm.weight.detach()
    return logs, ((write - reference) * scale * direction).sum(-1)


def last_layer(model: LlamaForCausalLM) -> str:
    """The name of the last layer as a module."""
    return f"model.layers.{model.config.num_hidden_layers - 1}"


def log_odds(logs: LogProbs, exam: Exam) -> Float[torch.Tensor, "prompt"]:
    """Log-probability of the favourite less the mean over its rivals, in nats."""
    return logs[exam.row, exam.favourite] - (exam.rivals() * logs).sum(-1)
