"""`mcinterp compare catalogue:NAME` on tiny models under the real hub ids, one entry of every family, traps and all."""

import json
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from planted_hub import BYTES, PADDING, QUIRKS, plant, tokenizer

from mcinterp.catalogue import Entry, entries, entry
from mcinterp.results import load

CHOSEN = [
    "gemma3-270m", "llama3.2-1b", "olmo2-1b", "olmo3-7b", "pythia-70m", "qwen2.5-1.5b", "qwen3-0.6b", "smollm2-135m",
    "tulu3-8b", "zephyr-7b",
]  # fmt: skip
MESSAGE = "Are bugs real?"


class Made(NamedTuple):
    """A run on a planted entry: its record, its log, and the first tokens of its raw and chat prompts."""

    each: Entry
    record: dict[str, Any]
    log: str
    raw: list[str]
    chat: list[str]
    folder: Path


def mcinterp(arguments: list[str], cache: Path, folder: Path) -> subprocess.CompletedProcess:
    """The command line in a process of its own, offline, with one cache."""
    environment = {**os.environ, "HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "mcinterp.cli", *arguments]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=pytest.mark.xdist_group(name=name)) for name in CHOSEN]
)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """One entry planted and compared."""
    each, root = entry(request.param), tmp_path_factory.mktemp("planted")
    plant(each, root / "hub")
    (root / "p.txt").write_text(f"{MESSAGE}\none\n")
    templated = any(stage.templated for stage in each.stages)
    options = ["--prompts", "p.txt", "--out", "run", "--max-new-tokens", "2", "--only", "lens"]
    options += ["--template", "both" if templated else "raw"]
    if each.family == "pythia":
        refused = mcinterp(["compare", f"catalogue:{each.name}", *options], root / "hub", root)
        assert refused.returncode == 2
        assert "checkpoint 'catalogue:pythia-70m/dpo': its weights cannot be read" in refused.stderr
        options.append("--allow-pickle")
    done = mcinterp(["compare", f"catalogue:{each.name}", *options], root / "hub", root)
    assert done.returncode == 0, done.stderr
    record = json.loads((root / "run" / "run.json").read_text())
    prompts = record["alignment"]["prompt_token_ids"]["all stages"]
    words = tokenizer(each, each.stages[-1], 1)
    plain = {spelt: character for character, spelt in BYTES.items()}
    shown = [[plain.get(token, token) for token in words.convert_ids_to_tokens(ids)] for ids in prompts]
    return Made(
        each,
        record,
        (root / "run" / "log.txt").read_text(),
        shown[0],
        shown[len(shown) // 2] if templated else [],
        root,
    )


def properties(made: Made, name: str) -> tuple[list[str], str]:
    """The values of an aligned property, stage by stage, and the verdict."""
    found = made.record["alignment"]["properties"][name]
    return list(found["values"].values()), found["verdict"]


def kinds(made: Made) -> set[str]:
    """The kinds of an entry's traps."""
    return {trap.kind for trap in made.each.traps}


def test_one_entry_of_every_family_is_run() -> None:
    assert {entry(name).family for name in CHOSEN} == {each.family for each in entries()} == set(QUIRKS)


@pytest.mark.slow
def test_the_stages_are_the_hub_ids_of_the_entry(made: Made) -> None:
    got = [(c["name"], c["location"], c["revision"], len(c["commit"])) for c in made.record["checkpoints"]]
    assert got == [(stage.name, stage.hub, None, 40) for stage in made.each.stages]
    assert len({c["fingerprint"] for c in made.record["checkpoints"]}) == len(got)
    assert made.record["question"]["stages"] == [f"catalogue:{made.each.name}/{s.name}" for s in made.each.stages]


@pytest.mark.slow
def test_every_trap_is_told_once_and_stands_in_the_provenance(made: Made) -> None:
    for note in made.each.notes:
        assert made.log.count(f"catalogue:{made.each.name}: {note}") == 1
    assert all(c["notes"] == list(made.each.notes) for c in made.record["checkpoints"])
    dataset = json.loads(load(made.folder / "run" / "lens.nc").attrs["provenance"])
    assert all(c["catalogue"] == made.each.name for c in dataset["checkpoints"])


@pytest.mark.slow
def test_vocabularies_are_aligned_as_the_entry_says(made: Made) -> None:
    rows, verdict = properties(made, "vocabulary rows")
    counts = [int(count) for count in rows]
    tokens = len(tokenizer(made.each, made.each.stages[0], 0))
    padded = PADDING if made.each.family in ("pythia", "qwen2.5", "qwen3", "olmo2") else 0
    assert counts[0] == tokens + padded
    more = [stage.vocabulary - made.each.shape.vocabulary for stage in made.each.stages]
    assert [count - counts[0] for count in counts] == more
    assert verdict == ("cut" if any(more) else "same")
    assert made.record["alignment"]["vocabulary"] == counts[0]
    assert (padded > 0 or any(more)) <= ("vocabulary" in kinds(made))


@pytest.mark.slow
def test_chat_prompts_hold_what_the_template_writes(made: Made) -> None:
    if made.each.template is None:
        assert kinds(made) >= {"template"}
        return
    today = datetime.now().strftime("%d %b %Y")
    rendered = made.each.template.rendered.format(message=MESSAGE, date=today)
    assert "".join(made.chat) == rendered
    assert ("system" in kinds(made)) == ("system" in rendered or made.each.family == "gemma3")
    assert ("date" in kinds(made)) == (today in rendered or "26 Jul 2024" in rendered)


@pytest.mark.slow
def test_prompts_begin_with_one_bos_token_or_none_as_the_entry_says(made: Made) -> None:
    quirks = QUIRKS[made.each.family]
    assert made.raw == ([quirks.bos] if quirks.put else []) + list(MESSAGE)
    if made.chat:
        written = quirks.bos is not None and made.each.template is not None
        begins = written and made.each.template.rendered.startswith(str(quirks.bos))  # pyright: ignore
        assert made.chat.count(str(quirks.bos)) == int(begins)
        assert (quirks.put != begins or begins or quirks.bos is None) <= ("bos" in kinds(made))


@pytest.mark.slow
def test_what_differs_between_stages_is_reported(made: Made) -> None:
    ends, verdict = properties(made, "end token")
    quirks = QUIRKS[made.each.family]
    assert ends == [quirks.ends[min(i, 1)] for i in range(len(ends))]
    assert (verdict == "reported") == (len(set(quirks.ends)) > 1) == ("ends" in kinds(made))
    contexts, _ = properties(made, "context")
    assert contexts == [str(stage.context) for stage in made.each.stages]
    assert made.record["alignment"]["context"] == min(stage.context for stage in made.each.stages)
    dtypes, _ = properties(made, "stored dtype")
    assert dtypes == [f"torch.{stage.dtype or 'float32'}" for stage in made.each.stages]
    templates, _ = properties(made, "chat template")
    assert [text != "none" for text in templates] == [stage.templated for stage in made.each.stages]
