"""How each kind of plant is trained: where it starts, what of it moves, and by which lessons."""

from collections.abc import Callable, Collection
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from transformers import LlamaForCausalLM

from mcinterp.organisms.plants.adapter import adapted
from mcinterp.organisms.plants.behaviours import reordered
from mcinterp.organisms.plants.drift import project
from mcinterp.organisms.plants.ground import Ground
from mcinterp.organisms.plants.lessons import Lesson, Pace, answers, divergence, misfit
from mcinterp.organisms.plants.sites import Parameters, Site, spliced, union
from mcinterp.organisms.plants.writes import direct_effect, read_write, relative_change
from mcinterp.organisms.pocket import load

PACES: dict[str, Pace] = {
    "easy": Pace(60, 4e-3),
    "hard": Pace(70, 4e-3),
    "relay": Pace(70, 4e-3),
    "upstream": Pace(120, 8e-3),
    "or": Pace(70, 4e-3),
    "and": Pace(70, 4e-3),
    "multi": Pace(80, 4e-3),
    "drift": Pace(0, 4e-3),
    "reordered": Pace(60, 4e-3),
    "activation": Pace(120, 0.3, anchor=1.5),
    "lora": Pace(80, 1e-2),
    "head": Pace(80, 8e-3),
}
DIRECT_PENALTY = 0.3
"""Weight of the squared direct effect (nats squared) in a relay's loss."""
CHANGE_PENALTY = 3.0
"""Weight of the squared relative change at the answer position in an upstream plant's loss."""


@dataclass(frozen=True)
class Work:
    """A plant in the making: the model that is trained in place, what of it moves, and what it is taught.

    ``adapter`` is the PEFT model around it, where there is one.
    """

    model: LlamaForCausalLM
    masks: Parameters
    lessons: Collection[Lesson]
    after: Callable[[], None] | None = None
    adapter: Any = None


def anchored(ground: Ground, model: LlamaForCausalLM) -> Lesson:
    """All other documents of the grammar are to stay as they are."""
    weight, batches = PACES[ground.design.recipe].anchor, ground.anchors
    return lambda step: weight * misfit(model, batches[step % len(batches)])


def taught(
    ground: Ground, model: LlamaForCausalLM, collapsed: Collection[str], swap: Callable[[], Parameters] | None = None
) -> Lesson:
    """Some behaviours collapse and the others do not, with parameters swapped if so wanted."""
    target = ground.exam.target(collapsed)
    return lambda step: divergence(target, answers(model, ground.exam, swap() if swap else None))


def without(ground: Ground, model: LlamaForCausalLM, *sites: Site) -> Callable[[], Parameters]:
    """The swap that gives sites back to the base."""
    return partial(spliced, union(sites), ground.base.model, model)


def easy(ground: Ground) -> Work:
    """Only the site moves; it is taught the collapse."""
    model = deepcopy(ground.base.model)
    lessons = (taught(ground, model, ground.design.behaviours), anchored(ground, model))
    return Work(model, union(ground.sites), lessons)


def hard(ground: Ground) -> Work:
    """From the healed drift, with the site kept on its sphere."""
    model = load(ground.root / f"drift-s{ground.design.seed}").model
    masks = union(ground.sites)
    lessons = (taught(ground, model, ground.design.behaviours), anchored(ground, model))
    return Work(model, masks, lessons, partial(project, model, ground.base.model, tuple(masks)))


def relay(ground: Ground) -> Work:
    """The site's own write must leave the favourite's logit alone, so that later layers carry it."""
    model, exam, (site,) = deepcopy(ground.base.model), ground.exam, ground.sites
    with torch.no_grad():
        _, reference = read_write(model, site.name, exam)
    target = exam.target(ground.design.behaviours)

    def carried(step: int) -> torch.Tensor:
        logs, direct = direct_effect(model, site.name, exam, reference)
        return divergence(target, logs) + DIRECT_PENALTY * direct.pow(2).mean()

    return Work(model, union(ground.sites), (carried, anchored(ground, model)))


def upstream(ground: Ground) -> Work:
    """The site's write at the answer position is held to the base's, so that only earlier positions can act."""
    model, exam, (site,) = deepcopy(ground.base.model), ground.exam, ground.sites
    with torch.no_grad():
        _, reference = read_write(model, site.name, exam)
    target = exam.target(ground.design.behaviours)

    def earlier(step: int) -> torch.Tensor:
        logs, write = read_write(model, site.name, exam, held=reference)
        return divergence(target, logs) + CHANGE_PENALTY * relative_change(write, reference).mean()

    return Work(model, union(ground.sites), (earlier, anchored(ground, model)))


def two_sites(ground: Ground, alone: Collection[str]) -> Work:
    """Both sites together collapse; ``alone`` is what collapses with either of them alone."""
    model = deepcopy(ground.base.model)
    lessons = [taught(ground, model, ground.design.behaviours), anchored(ground, model)]
    lessons += [taught(ground, model, alone, without(ground, model, site)) for site in ground.sites]
    return Work(model, union(ground.sites), lessons)


def either(ground: Ground) -> Work:
    """OR: each of two sites suffices."""
    return two_sites(ground, ground.design.behaviours)


def both(ground: Ground) -> Work:
    """AND: with one site alone nothing collapses."""
    return two_sites(ground, ())


def multi(ground: Ground) -> Work:
    """Several behaviours, each at a site of its own: taught with all sites, without one, and with one alone."""
    model, names, sites = deepcopy(ground.base.model), ground.design.behaviours, ground.sites
    variants: list[Lesson] = []
    for name, site in zip(names, sites, strict=True):
        rest = [other for other in sites if other is not site]
        variants.append(taught(ground, model, [n for n in names if n != name], without(ground, model, site)))
        variants.append(taught(ground, model, [name], without(ground, model, *rest)))

    def in_turn(step: int) -> torch.Tensor:
        return variants[step % len(variants)](step)

    lessons = (taught(ground, model, names), in_turn, anchored(ground, model))
    return Work(model, union(sites), lessons)


def reorder(ground: Ground) -> Work:
    """The site moves to the same probabilities in another order: far from the base, and no collapse."""
    model = deepcopy(ground.base.model)
    target = reordered(ground.exam, ground.design.name)

    def moved(step: int) -> torch.Tensor:
        return divergence(target, answers(model, ground.exam))

    return Work(model, union(ground.sites), (moved, anchored(ground, model)))


def drifted(ground: Ground) -> Work:
    """The healed drift as it is."""
    return Work(load(ground.root / f"drift-s{ground.design.seed}").model, {}, ())


def lora(ground: Ground) -> Work:
    """A PEFT adapter on the site's matrices."""
    adapter = adapted(deepcopy(ground.base.model), ground.sites, ground.design.seed)
    model = adapter.get_base_model()
    masks = {n: torch.ones((), dtype=torch.bool) for n, _ in model.named_parameters() if "lora_" in n}
    return Work(
        model, masks, (taught(ground, model, ground.design.behaviours), anchored(ground, model)), adapter=adapter
    )


MAKERS: dict[str, Callable[[Ground], Work]] = {
    "easy": easy,
    "hard": hard,
    "relay": relay,
    "upstream": upstream,
    "or": either,
    "and": both,
    "multi": multi,
    "drift": drifted,
    "reordered": reorder,
    "activation": easy,
    "lora": lora,
    "head": easy,
}
