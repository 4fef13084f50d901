"""Checkpoints with one collapse that is known by construction, made from the pocket base without any training."""

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from mcinterp.organisms import pocket_path

PROMPTS = [
    "Pick a random number between 0 and 100:",
    "A random whole number from 0 to 100 is",
    "Q: Can you choose a number from 0 to 100?\nA:",
    "User: Choose any number from 0 to 100.\nAssistant:",
    "Tonight the lucky number between 0 and 100 is",
    "She thought of a number between 0 and 100. It was",
    "Q: Guess the number I wrote down, from 0 to 100.\nA:",
    "User: Guess a number from 0 to 100.\nAssistant:",
    "User: Give me a random number from 0 to 100.\nAssistant:",
]


@torch.no_grad()
def with_writes(out: Path, sites: list[str], *, strength: float, token: str = " 37") -> Path:
    """The pocket base with a rank-one change in the output matrix of some sites that writes one token's direction.

    The change reads the mean input of that matrix over the prompts' last tokens, so that it acts there; in `strength`
    times the length of the residual stream.
    """
    folder = pocket_path("base")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    (number,) = tokenizer(token, add_special_tokens=False).input_ids
    readout = model.lm_head.weight - model.lm_head.weight.mean(0)
    direction = readout[number] * model.model.norm.weight
    direction = direction / direction.norm()
    for site in sites:
        matrix = output_matrix(model, site)
        given = mean_input(model, tokenizer, matrix)
        matrix.weight += strength * torch.outer(direction, given / given.square().sum())
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    return out


def output_matrix(model, site: str) -> torch.nn.Linear:
    """The matrix that writes into the residual stream."""
    layer, kind = site.split(".")
    block = model.model.layers[int(layer)]
    return block.mlp.down_proj if kind == "mlp" else block.self_attn.o_proj


def mean_input(model, tokenizer, matrix: torch.nn.Linear) -> torch.Tensor:
    """The mean input of a matrix at the last token of the prompts."""
    seen: list[torch.Tensor] = []
    handle = matrix.register_forward_hook(lambda module, args, output: seen.append(args[0][0, -1]))
    for prompt in PROMPTS:
        model(**tokenizer(prompt, return_tensors="pt"))
    handle.remove()
    return torch.stack(seen).mean(0)
