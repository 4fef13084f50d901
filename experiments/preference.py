"""Did tuning only sharpen the base's preferences, or change their order, and which of the base's ranks gained?

An answer is, along texts that each stage wrote and along the base's: the share of tokens where the stage's choice was
the base's own (unshifted), its second or third (marginal), or further down (shifted), at the first token and later; the
agreement of the two orders; and the change of log-probability and of probability by rank under the base.

    python experiments/preference.py [BASE TUNED [STAGE...]]     (about 40 seconds on one core for the pocket chain)
"""

import sys
from pathlib import Path

import xarray as xr

import mcinterp
from mcinterp.behaviour.preference import preference_order
from mcinterp.organisms import POCKET_STAGES
from mcinterp.results import save, write_json
from mcinterp.sharpening import SHIFT_CLASSES
from mcinterp.show.behaviour.preference import picture
from mcinterp.summary.behaviour.preference import summary

OUT = Path("runs/preference")
SHOWN = (*SHIFT_CLASSES, "greedy_gap", "kendall_tau", "top_k_jaccard")


def run(chain: mcinterp.Chain, prompts: mcinterp.Prompts) -> xr.Dataset:
    """Every later stage's order of the next tokens beside the base's, along its own text and the base's."""
    return preference_order(chain, prompts)


def main() -> None:
    """Run, print a line a stage, text and place, and write the dataset, its summary and its picture."""
    stages = sys.argv[1:] or [f"pocket:{name}" for name in POCKET_STAGES]
    battery = "preference" if sys.argv[1:] else "preference-pocket"
    dataset = run(mcinterp.load_chain(stages), mcinterp.Prompts.battery(battery))
    OUT.mkdir(parents=True, exist_ok=True)
    save(dataset, OUT / "preference.nc")
    found = summary(dataset)
    write_json(OUT / "preference.json", found)
    chart = picture(dataset)
    chart.save(OUT / "preference.svg")
    chart.save(OUT / "preference.png", scale_factor=2)
    print("| stage | text | tokens | " + " | ".join(name.replace("_", " ") for name in SHOWN) + " |")
    print("|---" * (3 + len(SHOWN)) + "|")
    for stage, texts in found["all"].items():
        for text, places in texts.items():
            for place, entry in places.items():
                figures = ["{mean:.3f} ({ci_low:.3f}, {ci_high:.3f})".format(**entry[name]) for name in SHOWN]
                print("| " + " | ".join([stage, text, place, *figures]) + " |")


if __name__ == "__main__":
    main()
