"""No option of the command line is dead: each one alone changes what the job is told."""

import argparse
from typing import Any

import pytest

from mcinterp.cli import main, parser
from mcinterp.errors import InputError

JOBS = {
    "compare": "mcinterp.jobs.comparison.compare",
    "patch": "mcinterp.jobs.patching.patch_checkpoints",
    "attribute": "mcinterp.jobs.attribution.attribute",
    "locate": "mcinterp.jobs.locating.locate_collapse",
    "behave": "mcinterp.jobs.behaving.behave",
}
NAMED = {
    "--layers": "0", "--heads": "1", "--neurons": "1", "--read-at": "2", "--only": "lens", "--what": "logits",
    "--battery": "stages", "--sites": "z", "--directions": "tuned_to_base",
}  # fmt: skip
APART = {"--help", "--quiet"}


def options_of(verb: str) -> list[argparse.Action]:
    """The options that a verb takes."""
    verbs = next(action for action in parser()._actions if isinstance(action, argparse._SubParsersAction))
    return [a for a in verbs.choices[verb]._actions if a.option_strings and a.option_strings[-1] not in APART]


def given(option: argparse.Action) -> list[str]:
    """An option with a value that is not its default."""
    name = option.option_strings[-1]
    if option.nargs == 0:
        return [name]
    if option.choices:
        return [name, next(str(choice) for choice in option.choices if choice != option.default)]
    return [name, NAMED.get(name, "3" if option.type in (int, float) else "other")]


def told(verb: str, extra: list[str], monkeypatch: pytest.MonkeyPatch) -> tuple[Any, ...]:
    """The question, the directory and the rest that the job of a verb is given."""
    heard: list[Any] = []

    def job(question: Any, out: Any, **how: Any) -> None:
        heard.extend((question, out, {name: value for name, value in how.items() if name != "say"}))
        raise InputError("heard.")

    monkeypatch.setattr(JOBS[verb], job)
    assert main([verb, "pocket:base", "pocket:sft", *extra]) == 2
    assert len(heard) == 3
    return tuple(heard)


@pytest.mark.parametrize("verb", JOBS)
def test_every_option_changes_what_the_job_is_told(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = told(verb, [], monkeypatch)
    assert plain == told(verb, [], monkeypatch)
    dead = [each for each in map(given, options_of(verb)) if told(verb, each, monkeypatch) == plain]
    assert dead == []
