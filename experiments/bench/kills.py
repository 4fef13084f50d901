"""Kills a run at random moments and continues it, again and again: does it end as one that was left alone?

Command: `python experiments/bench/kills.py --kills 50` (about twenty minutes on one core). Counts as an answer:
every killed run, continued until it finished, has the arrays and the summary of the uninterrupted one, bit for bit.
"""

import argparse
import json
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import xarray as xr

TEXTS = ["Q: one or two?\nA:", "The cat", "Pick a number:", "A", "Once upon a time", "Say it:", "Are bugs real?"]
ONLY = "lens,patch,logits,update"
MOST_KILLS = 4


@dataclass
class Tally:
    """What became of the kills."""

    kills: int = 0
    runs: int = 0
    resumed: int = 0
    finished_before_the_kill: int = 0
    differing: int = 0


def command(folder: Path, prompts: Path, only: str, *more: str) -> list[str]:
    """The comparison that is killed."""
    asked = ["compare", "pocket:base", "pocket:sft", "--only", only, "--prompts", str(prompts), "--max-new-tokens", "4"]
    return [sys.executable, "-m", "mcinterp.cli", *asked, "--shard-size", "2", "--out", str(folder), "--quiet", *more]


def surroundings() -> dict[str, str]:
    """One thread, so that only the kill is random."""
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def let_finish(line: list[str]) -> float:
    """Run a command to its end and time it."""
    begun = time.monotonic()
    done = subprocess.run(line, env=surroundings(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return time.monotonic() - begun


def killed(line: list[str], after: float) -> bool:
    """Whether SIGKILL after some seconds came before the end."""
    process = subprocess.Popen(line, env=surroundings(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        _, said = process.communicate(timeout=after)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.communicate()
        return True
    if process.returncode:
        raise RuntimeError(said.decode())
    return False


def same(one: Path, other: Path) -> bool:
    """Whether two runs hold the same arrays and summary, to the last bit."""
    names = sorted(path.name for path in one.glob("*.nc"))
    if names != sorted(path.name for path in other.glob("*.nc")):
        return False
    if (one / "summary.json").read_bytes() != (other / "summary.json").read_bytes():
        return False
    return all(bits(one / name) == bits(other / name) for name in names)


def bits(file: Path) -> dict[str, Any]:
    """Every array of a dataset as bytes, with its type and shape, and the provenance."""
    found = xr.load_dataset(file)
    arrays = {str(name): found.variables[name].values for name in found.variables}
    plain = {n: v.tolist() if v.dtype == object else v.tobytes() for n, v in arrays.items()}
    return {n: (str(arrays[n].dtype), arrays[n].shape, plain[n]) for n in arrays} | {"": found.attrs["provenance"]}


def kill_and_resume(root: Path, kills: int, seed: int, only: str = ONLY) -> dict[str, Any]:
    """Kill until there were enough kills, finish each run, and compare it; the counts."""
    chosen, tally = random.Random(seed), Tally()
    prompts = root / "prompts.txt"
    prompts.write_text("\n".join(text.replace("\n", "\\n") for text in TEXTS), encoding="utf-8")
    seconds = let_finish(command(root / "whole", prompts, only, "--replace"))
    while tally.kills < kills:
        folder = root / f"killed-{tally.runs}"
        shutil.rmtree(folder, ignore_errors=True)
        tally.runs += 1
        for _ in range(min(chosen.randint(1, MOST_KILLS), kills - tally.kills)):
            if not killed(command(folder, prompts, only, "--resume"), chosen.uniform(0.3, 1.0) * seconds):
                tally.finished_before_the_kill += 1
                break
            tally.kills += 1
            tally.resumed += (folder / "manifest.json").exists()
        let_finish(command(folder, prompts, only, "--resume"))
        tally.differing += not same(root / "whole", folder)
        shutil.rmtree(folder)
        print(asdict(tally), file=sys.stderr, flush=True)
    return {**asdict(tally), "seconds_uninterrupted": seconds, "only": only, "seed": seed}


def main() -> None:
    """Kill, print the counts, and write them."""
    parser = argparse.ArgumentParser(description="Kills runs at random moments and continues them.")
    parser.add_argument("--kills", type=int, default=50, metavar="N", help="how many (default: 50)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the moments (default: 0)")
    parser.add_argument("--only", default=ONLY, metavar="NAMES", help=f"analyses (default: {ONLY})")
    parser.add_argument("--out", type=Path, default=Path("runs/kills"), metavar="DIR", help="(default: runs/kills)")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    found = kill_and_resume(asked.out.resolve(), asked.kills, asked.seed, asked.only)
    record = {**found, "python": platform.python_version(), "processor": platform.machine()}
    (asked.out / "kills.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(record, indent=2))
    sys.exit(1 if found["differing"] else 0)


if __name__ == "__main__":
    main()
