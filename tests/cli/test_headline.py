"""What the terminal says of a run, from summaries that are written by hand."""

import pytest

from mcinterp.cli.headline import effect_lines, verification_lines
from mcinterp.show.patch_figures import unit_of

EDIT = {"sites": "0.mlp", "regained": 0.5, "log_odds_regained": 0.25}


@pytest.mark.parametrize(
    ("cost", "said"),
    [
        ({}, ["entropy back  log-odds back", "+0.500         +0.250", "give `locate` --controls FILE"]),
        (
            {"control_agreement": 0.9, "control_kl": 0.01},
            ["log-odds back   kept  control KL", "+0.250  0.900       0.010"],
        ),
    ],
)
def test_what_an_edit_costs_is_said_where_there_are_controls(cost: dict[str, float], said: list[str]) -> None:
    lines = "\n".join(verification_lines({"parts": {"held_out": {"1 site": {**EDIT, **cost}}}})).split("\n")
    assert lines[0].startswith("base weights put back, held-out prompts")
    assert [line.endswith(end) for line, end in zip(lines, said, strict=True)] == [True] * len(said)


def test_grafts_are_told_from_patches() -> None:
    cell = {"component": "0.mlp", "site": "0.mlp", "effect": 1.0, "effect_low": 0.5, "effect_high": 1.5, "share": 0.2}
    moved = {"metric": "entropy", "directions": {"base_to_tuned": {"cells": [cell]}}}
    (lines,) = effect_lines(moved, title="grafts ")
    assert lines.startswith("grafts base_to_tuned, entropy  effect")
    assert lines.endswith("0.mlp                        +1.000  +0.500 to +1.500        +0.200")


def test_a_metric_of_ones_own_has_no_unit() -> None:
    assert unit_of("attractor_log_odds") == " nats"
    assert unit_of("mine") == ""
