"""How the program ends where it is stopped: by Ctrl-C, or by a reader of its lines who wants no more."""

import argparse
import subprocess
import sys

import pytest

from mcinterp.cli import main, runs


def test_an_interrupt_is_one_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(options: argparse.Namespace) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "run_summary", interrupted)
    assert main(["summary", "anything"]) == 130
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "mcinterp: interrupted; a run goes on with the same command and --resume.\n")


def test_a_reader_who_leaves_early_is_no_error() -> None:
    code = "from mcinterp.cli import main; raise SystemExit(main(['catalogue', 'olmo2-1b']))"
    program = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert program.stdout is not None
    program.stdout.close()
    assert program.stderr is not None
    assert program.stderr.read() == b""
    program.stderr.close()
    assert program.wait() == 0
