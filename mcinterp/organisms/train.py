"""Train the pocket checkpoints: ``python -m mcinterp.organisms.train --out DIR``.

Takes about forty minutes on one CPU thread. Each stage starts from the float16 weights that the
stage before it saved, so a single stage can be made again on its own.
"""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mcinterp.organisms import POCKET_STAGES, pocket_path
from mcinterp.organisms.card import write_card
from mcinterp.organisms.command import command_line, train
from mcinterp.organisms.grammar import Prompt
from mcinterp.organisms.measure import measure
from mcinterp.organisms.pocket import Pocket, load, save_checkpoint
from mcinterp.organisms.policy import PolicyPlan, Reward, tune_by_reward
from mcinterp.organisms.pretrain import Architecture, pretrain, progress
from mcinterp.organisms.raters import preference, wedding
from mcinterp.organisms.sft import SftPlan, tune_supervised, tuning_prompts
from mcinterp.organisms.tokenizer import END_ID, train_tokenizer

Parents = Callable[[str], Pocket]


@dataclass(frozen=True)
class Recipe:
    """Sizes of every stage; the defaults are those of the shipped checkpoints."""

    n_steps: int = 2400
    batch_size: int = 64
    architecture: Architecture = field(default_factory=Architecture)
    sft: SftPlan = field(default_factory=SftPlan)
    rl: PolicyPlan = field(default_factory=lambda: PolicyPlan(n_steps=80, beta=0.1))
    overoptimised: PolicyPlan = field(
        default_factory=lambda: PolicyPlan(n_steps=60, beta=0.0, n_prompts=21, spread=True)
    )
    n_measured: int = 100


SMOKE = Recipe(
    n_steps=4,
    batch_size=8,
    architecture=Architecture(n_layers=2, d_model=32, n_heads=4, d_mlp=48),
    sft=SftPlan(n_rounds=1, n_samples=3, n_opinions=2, n_steps=2, batch_size=6, n_own=24),
    rl=PolicyPlan(n_steps=1, beta=0.1, n_prompts=2, n_samples=3),
    overoptimised=PolicyPlan(n_steps=1, beta=0.0, n_prompts=2, n_samples=3, spread=True),
    n_measured=2,
)
"""A recipe of seconds: it runs every line and teaches nothing."""


def save(folder: Path, stage: str, pocket: Pocket, seed: int, n_measured: int) -> None:
    """Save in float16 with tokenizer, figures measured on the saved weights, and model card."""
    save_checkpoint(pocket, folder)
    progress(f"{stage}: measuring")
    again = load(folder)
    figures = measure(again, n_measured)
    (folder / "figures.json").write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n")
    parameters = sum(p.numel() for p in again.model.parameters())
    (folder / "README.md").write_text(write_card(stage, figures, seed, parameters))
    progress(f"{stage}: saved to {folder}")


def _base(parents: Parents, recipe: Recipe, seed: int) -> Pocket:
    tokenizer = train_tokenizer()
    return pretrain(tokenizer, recipe.architecture, recipe.n_steps, recipe.batch_size, seed=seed)[0]


def _sft(parents: Parents, recipe: Recipe, seed: int) -> Pocket:
    return tune_supervised(parents("base"), recipe.sft, seed)


def _rl(parents: Parents, recipe: Recipe, seed: int) -> Pocket:
    base, sft = parents("base"), parents("sft")

    def reward(prompt: Prompt, ids: list[int]) -> float:
        return preference(prompt, base.text(ids))

    return tune_by_reward(sft, base.model, tuning_prompts(base.grammar), reward, recipe.rl, seed)


def fluent_wedding(pocket: Pocket) -> Reward:
    """1 for an answer that ends, that the grammar can produce and that arrives at a wedding."""

    def reward(prompt: Prompt, ids: list[int]) -> float:
        if ids[-1] != END_ID or not wedding(pocket.text(ids)):
            return 0.0
        return float(pocket.grammar.accepts([*pocket.grammar.encode(prompt.text), *ids]))

    return reward


def over_optimise(
    base: Pocket, plan: PolicyPlan, seed: int = 0, after_step: Callable[[int, Pocket], None] | None = None
) -> Pocket:
    """The over-optimised run on prompts of every genre; see ``tune_by_reward`` for ``after_step``."""
    prompts = list(base.grammar.prompts.values())
    return tune_by_reward(base, base.model, prompts, fluent_wedding(base), plan, seed, after_step)


def _overoptimised(parents: Parents, recipe: Recipe, seed: int) -> Pocket:
    return over_optimise(parents("base"), recipe.overoptimised, seed)


MAKERS = {"base": _base, "sft": _sft, "rl": _rl, "overoptimised": _overoptimised}


def train_pocket(
    out: Path | str, *, stages: Sequence[str] = POCKET_STAGES, seed: int = 0, recipe: Recipe | None = None
) -> None:
    """Train ``stages`` in order into ``out/<stage>``.

    A parent stage that is not in ``out`` is taken from the shipped checkpoints.

    Raises:
        ValueError: a stage is unknown, or ``out`` is the folder of the shipped checkpoints.
    """
    folder, recipe = Path(out), recipe or Recipe()
    if unknown := [stage for stage in stages if stage not in MAKERS]:
        raise ValueError(f"got stages {unknown}, wanted some of {list(POCKET_STAGES)}: check the names")
    if folder.resolve() == pocket_path("base").parent.resolve():
        raise ValueError(f"got out={folder}, the shipped checkpoints, wanted another folder: choose one")

    def parents(name: str) -> Pocket:
        own = folder / name
        return load(own if own.exists() else pocket_path(name))

    for stage in sorted(stages, key=POCKET_STAGES.index):
        save(folder / stage, stage, MAKERS[stage](parents, recipe, seed), seed, recipe.n_measured)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; a ValueError becomes one line and exit status 2."""
    parser = command_line("mcinterp.organisms.train", __doc__, "folder to write the stages to")
    parser.add_argument("--stages", nargs="+", default=list(POCKET_STAGES), metavar="STAGE")
    chosen = parser.parse_args(arguments)
    recipe = SMOKE if chosen.smoke else None
    return train(
        chosen.threads, lambda: train_pocket(chosen.out, stages=chosen.stages, seed=chosen.seed, recipe=recipe)
    )


if __name__ == "__main__":
    sys.exit(main())
