"""Where a fair draw is the right answer, how far is each stage from one, and does the setting of the question matter?

An answer is, for every frame (plain, dialogue, die, Python interpreter, interpreter inside a chat) and support, the
exact distribution over all values: its entropy over that of a fair draw (H / log N), the favourite and its share, the
mass of answers that are no value, how far wordings of one question agree, and what an earlier draw does to the next.

    python experiments/randomness.py [BASE TUNED [STAGE...]]     (about 50 seconds on one core for the pocket chain)
"""

import sys
from pathlib import Path

import xarray as xr

import mcinterp
from mcinterp.behaviour.randomness import randomness
from mcinterp.behaviour.randomness_history import earlier_draws, with_earlier_draws
from mcinterp.behaviour.support import short_name
from mcinterp.organisms import POCKET_STAGES
from mcinterp.results import save, write_json
from mcinterp.show.behaviour.randomness import picture
from mcinterp.summary.behaviour.randomness import summary

OUT = Path("runs/randomness")


def run(chain: mcinterp.Chain, prompts: mcinterp.Prompts) -> xr.Dataset:
    """Every stage's exact distribution over every support, alone and after one earlier draw."""
    return with_earlier_draws(randomness(chain, prompts), earlier_draws(chain, prompts))


def main() -> None:
    """Run, print a line a question and stage, and write the dataset, its summary and its picture."""
    stages = sys.argv[1:] or [f"pocket:{name}" for name in POCKET_STAGES]
    battery = "randomness" if sys.argv[1:] else "randomness-pocket"
    dataset = run(mcinterp.load_chain(stages), mcinterp.Prompts.battery(battery))
    OUT.mkdir(parents=True, exist_ok=True)
    save(dataset, OUT / "randomness.nc")
    found = summary(dataset)
    write_json(OUT / "randomness.json", found)
    chart = picture(dataset)
    chart.save(OUT / "randomness.svg")
    chart.save(OUT / "randomness.png", scale_factor=2)
    print("| support | frame | prompts | stage | H (nats) | H / log N | favourite | its share | off support |")
    print("|---|---|---|---|---|---|---|---|---|")
    for cell in found["cells"]:
        name = short_name(cell["support"])
        figures = [f"{cell[key]['mean']:.3f}" for key in ("entropy", "entropy_share", "favourite_share", "off_support")]
        figures.insert(2, cell["favourite"])
        print("| " + " | ".join([name, cell["frame"], cell["prompts"], cell["stage"], *figures]) + " |")


if __name__ == "__main__":
    main()
