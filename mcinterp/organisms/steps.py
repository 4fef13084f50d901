"""The over-optimised run step by step: ``python -m mcinterp.organisms.steps --out DIR``.

Takes about five minutes on two CPU threads. The run is that of the shipped checkpoint ``overoptimised``, from the
shipped base on; rounding (machine, number of threads) decides which samples are drawn, so that the weights differ and
what they do hardly does. Its checkpoints lie in
``DIR/step-005``, ``DIR/step-010`` and so on, for

    python experiments/over_optimisation.py pocket:base DIR/step-* --prompts battery:over_optimisation-pocket
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from mcinterp.organisms import pocket_path
from mcinterp.organisms.command import command_line, train
from mcinterp.organisms.pocket import Pocket, load, save_checkpoint
from mcinterp.organisms.policy import PolicyPlan
from mcinterp.organisms.pretrain import progress
from mcinterp.organisms.train import SMOKE, Recipe, over_optimise


def train_in_steps(
    out: Path | str, *, every: int = 5, seed: int = 0, plan: PolicyPlan | None = None
) -> tuple[Path, ...]:
    """Run the over-optimisation and save the checkpoint behind every ``every`` steps, and behind the last one.

    A checkpoint is there whole or not at all. Returns their folders in order of training.

    Raises:
        ValueError: ``every`` is below 1, or ``out`` holds checkpoints of an earlier run.
    """
    folder, chosen = Path(out), plan or Recipe().overoptimised
    if every < 1:
        raise ValueError(f"got every={every}, wanted 1 or more: give a number of steps")
    if any(folder.glob("step-*")):
        raise ValueError(f"got out={folder}, which holds steps of an earlier run, wanted none: choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    saved: list[Path] = []

    def keep(step: int, pocket: Pocket) -> None:
        if step % every == 0 or step == chosen.n_steps:
            saved.append(save_whole(pocket, folder / f"step-{step:03d}"))
            progress(f"steps: saved {saved[-1]}")

    over_optimise(load(pocket_path("base")), chosen, seed, keep)
    return tuple(saved)


def save_whole(pocket: Pocket, folder: Path) -> Path:
    """Save a checkpoint beside its place and move it there in one step."""
    with TemporaryDirectory(dir=folder.parent, prefix=".saving-") as beside:
        save_checkpoint(pocket, Path(beside) / folder.name)
        return (Path(beside) / folder.name).rename(folder)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; a ValueError becomes one line and exit status 2."""
    parser = command_line("mcinterp.organisms.steps", __doc__, "folder to write the checkpoints to")
    parser.add_argument("--every", type=int, default=5, help="steps between checkpoints")
    chosen = parser.parse_args(arguments)
    plan = SMOKE.overoptimised if chosen.smoke else None
    return train(chosen.threads, lambda: train_in_steps(chosen.out, every=chosen.every, seed=chosen.seed, plan=plan))


if __name__ == "__main__":
    sys.exit(main())
