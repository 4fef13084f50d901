"""At which stage does the collapse come in?

An answer is a table of headline measures along the chain with 95 % intervals over templates, and the step of each from
every stage to the next: the stage whose step of entropy is the most negative, with an interval below zero, brings it;
one whose step is positive takes some of it back.

    python experiments/stages.py [BASE TUNED [STAGE...]]     (a minute on two cores for the pocket chain)
"""

import sys
from pathlib import Path

import xarray as xr

import mcinterp
from mcinterp.behaviour.stages import stage_measures
from mcinterp.results import save
from mcinterp.show.behaviour.stages import picture
from mcinterp.summary.behaviour.stages import summary, table, written

POCKET = ("pocket:base", "pocket:sft", "pocket:rl", "pocket:overoptimised")
OUT = Path("runs/stages")


def run(chain: mcinterp.Chain, prompts: mcinterp.Prompts) -> xr.Dataset:
    """The measures of every stage and prompt."""
    return stage_measures(chain, prompts)


def main() -> None:
    """Print the table and the steps of entropy, and write the dataset and the picture."""
    specs = sys.argv[1:] or POCKET
    battery = "contexts" if sys.argv[1:] else "contexts-pocket"
    found = run(mcinterp.load_chain(specs), mcinterp.Prompts.battery(battery))
    OUT.mkdir(parents=True, exist_ok=True)
    save(found, OUT / "stages.nc")
    for kind in ("png", "svg"):
        picture(found).save(OUT / f"stages.{kind}", **({"ppi": 150} if kind == "png" else {}))
    print(table(found).to_string())
    for step, one in summary(found)["steps"]["entropy"].items():
        print(f"entropy, {step}: {written(one)}")


if __name__ == "__main__":
    main()
