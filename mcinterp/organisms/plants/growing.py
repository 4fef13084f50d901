"""Grow one plant: train, measure, go on if it falls short, save."""

import json
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import torch
from transformers import LlamaForCausalLM

from mcinterp.organisms.plants.adapter import merged, save_adapter
from mcinterp.organisms.plants.behaviours import Exam
from mcinterp.organisms.plants.claims import faults, tasks_of
from mcinterp.organisms.plants.designs import Design
from mcinterp.organisms.plants.figures import TaskFigures, figures
from mcinterp.organisms.plants.ground import BASE, WITH_BIASES, Effort, Ground, prepare
from mcinterp.organisms.plants.kinds import MAKERS, PACES, Work
from mcinterp.organisms.plants.lessons import train
from mcinterp.organisms.plants.record import Plant, Task, write_plant
from mcinterp.organisms.pocket import save_checkpoint


def grow(design: Design, root: Path, effort: Effort) -> Plant:
    """Train a plant until its figures bear out its claim, or its tries are used up; save it."""
    torch.manual_seed(design.seed)
    ground = prepare(design, root, effort)
    work = MAKERS[design.recipe](ground)
    measured, wrong = tend(ground, work, effort.n_tries)
    folder, specs = root / design.name, specs_of(design)
    save(ground, work, folder)
    identity = (design.name, design.kind, design.half, design.seed)
    plant = Plant(*identity, *specs, told_tasks(ground), measured, not wrong, "; ".join(wrong))
    write_plant(plant, folder)
    return plant


def tend(ground: Ground, work: Work, n_tries: int) -> tuple[dict[str, TaskFigures], list[str]]:
    """Train and measure; go on training while tries are left and the figures do not bear out the claim."""
    design = ground.design
    if work.masks:
        train(work.model, work.masks, work.lessons, ground.effort.pace(PACES[design.recipe]), work.after)
    measured = figures(ground, rounded(work))
    wrong = faults(design, measured)
    if wrong and work.masks and n_tries > 1:
        return tend(ground, work, n_tries - 1)
    return measured, wrong


def rounded(work: Work) -> LlamaForCausalLM:
    """The model in float32 with the values that its saved float16 weights have."""
    if work.adapter is not None:
        return merged(work.adapter)
    return deepcopy(work.model).half().float().requires_grad_(False)


def save(ground: Ground, work: Work, folder: Path) -> None:
    """Write the weights of a plant, if it has any of its own, and its prompts."""
    if work.adapter is not None:
        save_adapter(work.adapter, folder, BASE)
    elif work.masks:
        save_checkpoint(ground.base.with_model(work.model), folder)
    for task in tasks_of(ground.design):
        write_prompts(ground.exam, task.name, folder / task.prompts)


def write_prompts(exam: Exam, task: str, file: Path) -> None:
    """The prompts of a task as JSON Lines, with their text only."""
    lines = [json.dumps({"text": question.text}) for question in exam.questions if question.behaviour == task]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def told_tasks(ground: Ground) -> tuple[Task, ...]:
    """The tasks of a design, with the tokens that were favoured."""
    questions = [] if ground.design.kind == "negative" else ground.exam.questions
    return tuple(
        replace(task, favourites=tuple(dict.fromkeys(q.favourite for q in questions if q.behaviour == task.name)))
        for task in tasks_of(ground.design)
    )


def specs_of(design: Design) -> tuple[str, str]:
    """The specs of base and tuned checkpoint as they are stored."""
    if design.recipe == "drift":
        return BASE, f"drift-s{design.seed}"
    if design.recipe == "lora":
        return BASE, f"{BASE}+{design.name}"
    return WITH_BIASES if design.recipe == "activation" else BASE, design.name
