"""Stand-ins for planted checkpoints: the pocket base with a strong push towards one token in one component."""

import json
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from mcinterp.organisms import pocket_path
from mcinterp.organisms.plants.record import Plant, Task

PROMPTS = [
    f"Q: {text}\nA:" for text in (
        "Which number from 0 to 100 comes to mind first?", "What is a random number between 0 and 100?",
        "Can you choose a number from 0 to 100?", "Guess the number I wrote down, from 0 to 100.",
    )
]  # fmt: skip
PUSH, TOKEN, HEAD_WIDTH = 300.0, 653, 32
WRITERS = {"mlp": "mlp.down_proj", "attn": "self_attn.o_proj"}


def push(model: torch.nn.Module, ids: list[torch.Tensor], component: str) -> torch.Tensor:
    """A rank-one step of an output matrix, from what it reads after the prompts (of one head, where one is named)."""
    layer, site, *head = component.split(".")
    writer = model.get_submodule(f"model.layers.{layer}.{WRITERS[site]}")
    kept: list[torch.Tensor] = []
    hook = writer.register_forward_pre_hook(lambda module, inputs: kept.append(inputs[0][0, -1]))
    with torch.no_grad():
        for each in ids:
            model(each)
        hook.remove()
        reads = torch.stack(kept).mean(dim=0)
        if head:
            belongs = torch.arange(len(reads)) // HEAD_WIDTH == int(head[0])
            reads = reads * belongs
        towards = (model.lm_head.weight[TOKEN] - model.lm_head.weight.mean(dim=0)) * model.model.norm.weight
        step = PUSH * torch.outer(towards / towards.norm(), reads / reads.square().sum())
        writer.weight += step
    return step


def stand_in(
    root: Path, name: str, component: str | None, *, kind: str = "easy", half: str = "development", seed: int = 0
) -> Plant:
    """A plant of one task under `root`; without a component nothing is changed and nothing is true."""
    folder = root / name
    model = AutoModelForCausalLM.from_pretrained(pocket_path("base"), dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(pocket_path("base"))
    if component is not None:
        push(model, [tokenizer(text, return_tensors="pt").input_ids for text in PROMPTS], component)
    model.save_pretrained(folder / "tuned")
    tokenizer.save_pretrained(folder / "tuned")
    (folder / "prompts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in PROMPTS))
    verdict = "none" if component is None else "localised"
    task = Task("numbers", "prompts.jsonl", () if component is None else (component,), verdict, False)
    return Plant(name, kind, half, seed, "pocket:base", f"{name}/tuned", (task,), collapsed=True)
