"""Progress is logged with rate and time left, and drawn on terminals only."""

import logging
import sys

import pytest

from mcinterp import progress
from mcinterp.progress import Progress


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that a test moves; tqdm and the log read it."""
    now = [0.0]
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    return now


def test_long_work_is_logged_every_minute_and_at_its_end(
    ticking: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="mcinterp.progress")
    for _ in Progress(range(10), desc="patching", unit="layer"):
        ticking[0] += 40.0
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 6
    assert lines[0].startswith("patching: 2 of 10 layer")
    assert "40.00s/layer" in lines[0]
    assert "05:20 left" in lines[0]
    assert lines[-1] == "patching: 10 layer in 400.0 s (0.025 a second)"


def test_short_work_says_nothing(ticking: list[float], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="mcinterp.progress")
    for _ in Progress(range(10), desc="short", unit="batch"):
        ticking[0] += 0.01
    assert not caplog.records


@pytest.mark.parametrize(
    ("terminal", "silent", "drawn"), [(True, False, True), (True, True, False), (False, False, False)]
)
def test_bars_are_drawn_on_terminals_unless_silent(
    ticking: list[float],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    terminal: bool,
    silent: bool,
    drawn: bool,
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    monkeypatch.setattr(Progress, "silent", silent)
    with Progress(total=3, desc="lens", unit="batch") as bar:
        for _ in range(3):
            ticking[0] += 5.0
            bar.update()
    assert ("lens" in capsys.readouterr().err) == drawn
