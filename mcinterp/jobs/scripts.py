"""What the scripts in `experiments/` do: one experiment on behaviour, on checkpoints that the command line names."""

import argparse
import sys
from pathlib import Path

from mcinterp.chain import load_chain
from mcinterp.errors import InputError
from mcinterp.jobs.behaving import battery_of, measured
from mcinterp.jobs.question import fitting
from mcinterp.organisms import POCKET_STAGES
from mcinterp.prompts import Prompts
from mcinterp.results import made_folder, save, write_json
from mcinterp.show.behaviour.gallery import PAGES, PICTURES
from mcinterp.show.saving import save_page
from mcinterp.summary import behaviour as summaries


def script(name: str) -> None:
    """Run an experiment, print its headline, and write data, summary and pictures into `runs/NAME`.

    Without arguments the pocket chain runs on the prompts of its grammar. Anything wrong with checkpoints or prompts
    is said in one sentence, with exit status 2.
    """
    parser = argparse.ArgumentParser(description=f"The experiment {name}; see the top of the script.")
    parser.add_argument("stages", nargs="*", metavar="STAGE", help="BASE TUNED [STAGE...] (default: the pocket chain)")
    parser.add_argument("--prompts", metavar="FILE", help="JSON Lines, or battery:NAME (default: the experiment's own)")
    parser.add_argument("--out", metavar="DIR", default=f"runs/{name}", help="(default: %(default)s)")
    asked = parser.parse_args()
    stages = tuple(asked.stages or (f"pocket:{stage}" for stage in POCKET_STAGES))
    try:
        named = Prompts.named(asked.prompts) if asked.prompts else None
        print(write(name, stages, named, Path(asked.out)))
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


def write(name: str, stages: tuple[str, ...], named: Prompts | None, out: Path) -> str:
    """Measure on named prompts, or on those of the battery that fit, write all into a folder, return the headline."""
    chain = load_chain(stages)
    dataset = measured(name, chain, named or fitting(battery_of(name, stages), chain))
    made_folder(out, "give another --out")
    save(dataset, out / f"{name}.nc")
    found = summaries.of(name).summary(dataset)
    write_json(out / f"{name}.json", found)
    chart = PICTURES[name](dataset)
    chart.save(out / f"{name}.svg")
    chart.save(out / f"{name}.png", ppi=150)
    if name in PAGES:
        save_page(PAGES[name](dataset), out / f"{name}.html")
    return summaries.of(name).headline(found)
