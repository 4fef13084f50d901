"""Does a disturbed completion come back to where it was going, more than the base at equal entropy does?

A token of what a stage has written is swapped for another likely one, or a sentence is put in, at several depths; the
stage goes on, greedily and at temperature 1. An answer is, for every stage and genre, the share of disturbed texts that
end with the same last sentence, minus that of the base at the temperature where its mean entropy is the stage's, with
an interval above 0; beside it the entropy while they are away, the speed of the return and the number of endings. That
greedy texts converge is no answer: those of a model that has not collapsed do so too.

    python experiments/perturbation.py [BASE TUNED [STAGE...]]   (a minute and a half on two cores for the pocket chain)
"""

import sys
from pathlib import Path

import xarray as xr

import mcinterp
from mcinterp.behaviour.perturbation import perturbation
from mcinterp.behaviour.perturbation_edits import Insert, Perturbing, Swap
from mcinterp.results import save
from mcinterp.show.behaviour.perturbation import picture
from mcinterp.summary.behaviour.perturbation import summary

OUT = Path("runs/perturbation")
POCKET = Perturbing((Swap(1), Swap(2), Insert(" I am not sure.")), depths=(0.2, 0.5), steps=32, samples=1)
REAL = Perturbing(depths=(0.25, 0.5, 0.75), steps=64, samples=4)


def run(chain: mcinterp.Chain, prompts: mcinterp.Prompts, settings: Perturbing = REAL) -> xr.Dataset:
    """Disturbed and undisturbed completions of every stage, and of the base at the stage's entropy."""
    return perturbation(chain, prompts, settings)


def main(stages: list[str]) -> None:
    """Run, save data and figures, and print the headline as Markdown."""
    names = stages or [f"pocket:{name}" for name in ("base", "sft", "rl", "overoptimised")]
    prompts = mcinterp.Prompts.battery("perturbation" if stages else "perturbation-pocket")
    dataset = run(mcinterp.load_chain(names), prompts, REAL if stages else POCKET)
    OUT.mkdir(parents=True, exist_ok=True)
    save(dataset, OUT / "perturbation.nc")
    chart = picture(dataset)
    chart.save(str(OUT / "perturbation.png"), scale_factor=2)
    chart.save(str(OUT / "perturbation.svg"))
    headline(summary(dataset))


def headline(found: dict) -> None:
    """One row a genre and stage: the share with the same last sentence, by decoding, and what is beyond the base's."""
    print("| genre | stage | greedy | sampled | base at equal entropy | beyond it | entropy outside (sampled) |")
    print("|---|---|---|---|---|---|---|")
    cells = [cell for cell in found["cells"] if cell["prompts"] == "all"]
    for genre, stage in dict.fromkeys((cell["genre"], cell["stage"]) for cell in cells):
        one = {cell["decoding"]: cell for cell in cells if (cell["genre"], cell["stage"]) == (genre, stage)}
        same = [interval(one[decoding]["same_ending"]) for decoding in ("greedy", "sampled", "matched")]
        rest = [interval(one["sampled"][name]) for name in ("beyond_matched", "entropy_outside")]
        print(f"| {genre} | {stage} | {' | '.join([*same, *rest])} |")


def interval(value: dict) -> str:
    """A mean with its 95 % interval."""
    return f"{value['mean']:.2f} [{value['ci_low']:.2f}, {value['ci_high']:.2f}]"


if __name__ == "__main__":
    main(sys.argv[1:])
