"""What a plant grows on: the base it is compared with, its exam, the documents it must leave alone, and the effort."""

from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from mcinterp.organisms import pocket_path
from mcinterp.organisms.documents import Batch
from mcinterp.organisms.plants.behaviours import Exam, exam, genres_of
from mcinterp.organisms.plants.designs import Design
from mcinterp.organisms.plants.drift import Healing
from mcinterp.organisms.plants.lessons import Pace, documents
from mcinterp.organisms.plants.sites import Site, bias_site, site_named
from mcinterp.organisms.pocket import Pocket, load

BASE = "pocket:base"
WITH_BIASES = "base-with-biases"
UNSEEN = 1000
"""Added to the seed of the documents that measure; those that train have the seed itself."""


@dataclass(frozen=True)
class Effort:
    """How much work goes into each plant; ``most_steps`` caps the steps of every training."""

    n_tries: int = 3
    most_steps: int = 1000
    n_batches: int = 24
    batch_size: int = 16
    n_unseen: int = 8
    healing: Healing = field(default_factory=Healing)

    def pace(self, pace: Pace) -> Pace:
        """A pace within these limits."""
        return replace(pace, n_steps=min(pace.n_steps, self.most_steps))


SMOKE = Effort(n_tries=1, most_steps=2, n_batches=2, batch_size=4, n_unseen=1, healing=Healing(n_steps=2, batch_size=4))
"""An effort of a second: it runs every line and teaches nothing."""


@dataclass(frozen=True)
class Ground:
    """A design with all that its making needs; ``base`` is the checkpoint it is compared with."""

    design: Design
    root: Path
    base: Pocket
    exam: Exam
    sites: tuple[Site, ...]
    anchors: tuple[Batch, ...]
    unseen: tuple[Batch, ...]
    effort: Effort


@cache
def shipped_base() -> Pocket:
    """The pocket base in float32, loaded once; no gradient reaches it."""
    pocket = load(pocket_path("base"))
    pocket.model.requires_grad_(False)
    return pocket


def with_biases(pocket: Pocket) -> Pocket:
    """The same function with a bias of zero at every matrix of attention and MLP."""
    settings = {**pocket.model.config.to_dict(), "attention_bias": True, "mlp_bias": True}
    model = LlamaForCausalLM(LlamaConfig(**settings))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(".bias"):
                parameter.zero_()
    model.load_state_dict(pocket.model.state_dict(), strict=False)
    return pocket.with_model(model.eval())


def base_of(design: Design) -> Pocket:
    """The base in memory that a design is compared with."""
    return with_biases(shipped_base()) if design.kind == "activation" else shipped_base()


def prepare(design: Design, root: Path, effort: Effort) -> Ground:
    """Everything that the making of a plant needs."""
    pocket = shipped_base()
    base, left_out = base_of(design), genres_of(design.behaviours)
    size = effort.batch_size
    return Ground(
        design=design,
        root=root,
        base=base,
        exam=exam(pocket, design.behaviours, design.name),
        sites=tuple(bias_site(s) if design.kind == "activation" else site_named(base.model, s) for s in design.sites),
        anchors=documents(pocket.grammar, left_out, effort.n_batches, size, design.seed),
        unseen=documents(pocket.grammar, left_out, effort.n_unseen, size, design.seed + UNSEEN),
        effort=effort,
    )
