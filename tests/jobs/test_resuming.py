"""Jobs that are stopped anywhere and continued give what an uninterrupted one gives, to the last bit."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from conftest import Build
from mcinterp.cli import main
from mcinterp.completions import Decoding
from mcinterp.engines.interface import Place
from mcinterp.errors import InputError
from mcinterp.jobs import comparison, job
from mcinterp.jobs.analyses import AttributeQuestion
from mcinterp.jobs.attribution import attribute
from mcinterp.jobs.comparison import CompareQuestion, compare
from mcinterp.jobs.patching import PatchQuestion, patch_checkpoints
from mcinterp.prompts import Prompts
from mcinterp.results import write_text
from mcinterp.run import Run
from same_runs import assert_same_runs

TEXTS = ["Are bugs real?", ">be me\n", "Pick a number:", "one", "One more"]
PROMPTS = Prompts.from_texts(TEXTS)


class Stopped(Exception):
    """Stands for whatever stops a process."""


AFTER_TWO_SHARDS = 7


def stopping(after: int) -> Callable[[str], None]:
    """Says nothing, and stops the process at a line."""
    lines = iter(range(after))

    def say(line: str) -> None:
        if next(lines, None) is None:
            raise Stopped

    return say


@pytest.fixture(scope="module", autouse=True)
def short_reports() -> Iterator[None]:
    """Reports of one line, for what is tested here lies before them."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(job, "write_report", lambda run: write_text(run.path / "report.html", "page " * 40))
        yield


@pytest.fixture(scope="module")
def question(tiny: Build) -> CompareQuestion:
    """A tiny pair and three shards."""
    stages = (f"base={tiny('llama')}", f"tuned={tiny('llama', 'tuned')}")
    return CompareQuestion(stages=stages, decoding=Decoding(3), only=("lens", "patch", "logits"), shard_size=2)


@pytest.fixture(scope="module")
def whole(question: CompareQuestion, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run that nothing stopped."""
    return compare(question, tmp_path_factory.mktemp("runs") / "whole", prompts=PROMPTS)


@pytest.mark.slow
def test_a_run_stopped_anywhere_ends_the_same(question: CompareQuestion, whole: Run, tmp_path: Path) -> None:
    told: list[str] = []
    compare(question, tmp_path / "told", prompts=PROMPTS, say=told.append)
    count = len(told)
    assert count > 12
    for after in range(1, count, 4):
        out = tmp_path / f"stopped-{after}"
        with pytest.raises(Stopped):
            compare(question, out, prompts=PROMPTS, say=stopping(after))
        again = compare(question, out, prompts=PROMPTS, existing="resume")
        assert_same_runs(whole.path, again.path)
        assert not (out / "parts").exists()


def test_a_run_stopped_again_and_again_gets_there(question: CompareQuestion, whole: Run, tmp_path: Path) -> None:
    stops = 0
    while True:
        try:
            again = compare(question, tmp_path / "run", prompts=PROMPTS, say=stopping(4 + 3 * stops), existing="resume")
            break
        except Stopped:
            stops += 1
    assert stops > 1
    assert_same_runs(whole.path, again.path)


def test_what_was_made_is_not_made_again(
    question: CompareQuestion, whole: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    lens = comparison.logit_lens
    monkeypatch.setattr(comparison, "logit_lens", lambda *given, **how: (calls.append(1), lens(*given, **how))[1])
    with pytest.raises(Stopped):
        compare(question, tmp_path / "run", prompts=PROMPTS, say=stopping(AFTER_TWO_SHARDS))
    assert len(calls) == 2
    compare(question, tmp_path / "run", prompts=PROMPTS, existing="resume")
    assert len(calls) == 3
    again = compare(question, tmp_path / "run", prompts=PROMPTS, existing="resume")
    assert again.made_before
    assert len(calls) == 3
    assert "finished before: nothing was computed again" in (again.path / "log.txt").read_text()
    assert_same_runs(whole.path, again.path)


@pytest.mark.parametrize(
    "name", ["lens.nc", "completions.nc", "patch.nc", "run.json", "manifest.json", "summary.json", "report.html"]
)
def test_a_torn_file_is_made_again(name: str, question: CompareQuestion, whole: Run, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(whole.path, out)
    (out / name).write_bytes((out / name).read_bytes()[:100])
    assert not compare(question, out, prompts=PROMPTS, existing="resume").made_before
    assert_same_runs(whole.path, out)


def test_a_torn_part_is_made_again(question: CompareQuestion, whole: Run, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(Stopped):
        compare(question, out, prompts=PROMPTS, say=stopping(AFTER_TWO_SHARDS))
    parts = sorted((out / "parts").iterdir())
    assert [part.name for part in parts] == ["lens-0000.nc", "lens-0001.nc"]
    parts[0].write_bytes(parts[0].read_bytes()[:5000])
    compare(question, out, prompts=PROMPTS, existing="resume")
    assert_same_runs(whole.path, out)


def test_parts_may_wait_elsewhere(question: CompareQuestion, whole: Run, tmp_path: Path) -> None:
    place = Place(parts="memory://parts")
    with pytest.raises(Stopped):
        compare(question, tmp_path / "run", prompts=PROMPTS, say=stopping(AFTER_TWO_SHARDS), place=place)
    assert not (tmp_path / "run" / "parts").exists()
    compare(question, tmp_path / "run", prompts=PROMPTS, existing="resume", place=place)
    assert_same_runs(whole.path, tmp_path / "run")


def test_another_question_is_refused_by_its_first_difference(
    question: CompareQuestion, whole: Run, tiny: Build, tmp_path: Path
) -> None:
    before = (whole.path / "run.json").read_bytes()
    with pytest.raises(InputError, match="made with question.seed = 0 and now it is 1; ask the same"):
        compare(replace(question, seed=1), whole.path, prompts=PROMPTS, existing="resume")
    with pytest.raises(InputError, match="made with prompts = "):
        compare(question, whole.path, prompts=Prompts.from_texts(TEXTS[:4]), existing="resume")
    shutil.copytree(whole.path, tmp_path / "run")
    record = json.loads(before)
    record["identity"]["checkpoints"]["tuned"] = "0123"
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="made with checkpoints.tuned = '0123' and now it is"):
        compare(question, tmp_path / "run", prompts=PROMPTS, existing="resume")
    assert (whole.path / "run.json").read_bytes() == before


def test_the_shards_of_the_run_are_kept(question: CompareQuestion, whole: Run) -> None:
    again = compare(replace(question, shard_size=4), whole.path, prompts=PROMPTS, existing="resume")
    assert again.made_before
    assert again.read("run.json")["shards"] == [[0, 2], [2, 4], [4, 5]]


def test_attributions_by_prompt_are_the_same_in_shards(tiny: Build, tmp_path: Path) -> None:
    stages = (f"base={tiny('llama')}", f"tuned={tiny('llama', 'tuned')}")
    what = ("logits", "update", "grafts", "shapley", "entropy_split")
    whole = AttributeQuestion(stages=stages, what=what, orders=4, metric="attractor_log_prob")
    attribute(whole, tmp_path / "whole", prompts=PROMPTS)
    attribute(replace(whole, shard_size=2), tmp_path / "shards", prompts=PROMPTS)
    for name in what:
        one, other = (Run.open(tmp_path / each).load(name) for each in ("whole", "shards"))
        for key in one.data_vars:
            if one[key].dtype.kind == "f":
                assert float(abs(one[key] - other[key]).max()) < 1e-3 if one[key].size else True, f"{name}: {key}"
        assert one["text"].equals(other["text"])
        assert one.attrs["provenance"] == other.attrs["provenance"]


def test_a_sweep_is_the_same_in_shards_but_for_its_controls(tiny: Build, tmp_path: Path) -> None:
    stages = (f"base={tiny('llama')}", f"tuned={tiny('llama', 'tuned')}")
    whole = PatchQuestion(stages=stages, layers=(0, 2), read_at=(0, 2), verify=2)
    patch_checkpoints(whole, tmp_path / "whole", prompts=PROMPTS)
    patch_checkpoints(replace(whole, shard_size=2), tmp_path / "shards", prompts=PROMPTS)
    one, other = (Run.open(tmp_path / each).load("patch") for each in ("whole", "shards"))
    assert other.attrs["verified_cells"] == 6
    for key in one.data_vars:
        if one[key].dtype.kind == "f" and "control" not in str(key) and "recovery" not in str(key):
            assert float(abs(one[key] - other[key]).max()) < 1e-4, key


def test_the_command_line_resumes_and_replaces(tiny: Build, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "p.txt").write_text("Are bugs real?\none\n")
    arguments = ["compare", str(tiny("llama")), f"sft={tiny('llama', 'tuned')}", "--prompts", str(tmp_path / "p.txt")]
    arguments += ["--only", "logits", "--out", str(tmp_path / "run")]
    assert main([*arguments, "--shard-size", "1"]) == 0
    headline = capsys.readouterr().out
    assert main(arguments) == 2
    assert "holds a run; continue it with --resume, replace it with --replace" in capsys.readouterr().err
    assert main([*arguments, "--resume"]) == 0
    shown = capsys.readouterr().out
    assert "was finished before: nothing was computed again" in shown
    assert shown.endswith(headline)
    assert main([*arguments, "--replace", "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    with pytest.raises(SystemExit):
        main([*arguments, "--replace", "--resume"])
    assert main([*arguments, "--replace", "--shard-size", "0"]) == 2
    assert "got a shard size of 0; give 1 prompt or more" in capsys.readouterr().err
