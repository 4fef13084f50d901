"""The main job end to end: the run directory, its summary, and its numbers."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from conftest import Build
from mcinterp.cli import main
from mcinterp.completions import Decoding
from mcinterp.errors import InputError
from mcinterp.jobs.comparison import CompareQuestion, compare
from mcinterp.jobs.question import default_prompts
from mcinterp.prompts import Prompts
from mcinterp.results import load, provenance_of
from mcinterp.run import Run
from mcinterp.tuned_lens import Fit

TEXTS = ["Are bugs real?", ">be me\n", "Pick a number:", "one", "One more"]


@pytest.fixture(scope="module")
def question(tiny: Build) -> CompareQuestion:
    """A chain of three tiny stages."""
    stages = tuple(f"{stage}={tiny('llama', stage)}" for stage in ("base", "tuned", "later"))
    return CompareQuestion(
        stages=stages, decoding=Decoding(5), template="both", tuned_lens="fit", fit=Fit(samples=1, steps=40)
    )


@pytest.fixture(scope="module")
def run(question: CompareQuestion, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The finished run."""
    return compare(question, tmp_path_factory.mktemp("runs") / "tiny", prompts=Prompts.from_texts(TEXTS))


def test_a_run_holds_its_question_its_analyses_and_its_pages(run: Run) -> None:
    names = {path.name for path in run.path.iterdir()}
    assert names == {
        "run.json", "manifest.json", "log.txt", ".lock", "summary.json", "report.html", "tuned_lens", "located.json",
        "steps.json", "completions.nc", "lens.nc", "landmarks.nc", "onset.nc", "attractors.nc", "attention.nc",
        "patch.nc", "logits.nc", "update.nc", "gate.nc",
    }  # fmt: skip
    assert run.read("summary.json")["verdict"] == "none"  # noise is no collapse, and so has no sites
    record = run.read("run.json")
    assert record["state"] == "finished"
    assert record["question"]["template"] == "both"
    assert [c["name"] for c in record["checkpoints"]] == ["base", "tuned", "later"]
    assert len({c["fingerprint"] for c in record["checkpoints"]}) == 3
    assert len(record["alignment"]["prompt_token_ids"]["all stages"]) == 10


def test_every_dataset_of_a_run_says_its_units_and_where_it_came_from(run: Run) -> None:
    for name in ("lens", "landmarks", "onset", "attractors", "attention", "patch", "logits", "update"):
        dataset = run.load(name)
        assert [v for v in dataset.data_vars if "units" not in dataset[v].attrs] == []
        assert [c["name"] for c in provenance_of(dataset)["checkpoints"]] == ["base", "tuned", "later"]
    assert provenance_of(run.load("onset"))["analysis"] == "onset"


def test_summary_has_what_people_ask_for(run: Run) -> None:
    summary = run.read("summary.json")
    assert summary["stages"] == ["base", "tuned", "later"]
    assert summary["n_prompts"] == len(summary["prompts"]) == 10
    assert summary["alignment"]["aligned"]
    assert set(summary["onset"]) == {"own", "common", "tuned"}
    assert set(summary["entropy_by_rendering"]) == {"raw", "chat"}
    first = summary["prompts"][0]
    assert first["text"] == TEXTS[0]
    assert "".join(first["tokens"]) == TEXTS[0]
    assert set(first["entropy"]) == set(first["attractor_probability"]) == {"base", "tuned", "later"}
    assert first["attractor_rank"]["later"] == 1
    assert set(summary["entropy"]) == {"base", "tuned", "later", "difference"}
    assert summary["entropy"]["difference"] == summary["entropy_differences"]["later"]
    gaps = [p["entropy"]["later"] - p["entropy"]["base"] for p in summary["prompts"]]
    assert summary["entropy"]["difference"]["mean"] == pytest.approx(np.mean(gaps), abs=1e-5)


def test_entropies_are_those_of_plain_transformers(run: Run, tiny: Build) -> None:
    for entry in run.read("summary.json")["prompts"]:
        for stage in ("base", "tuned", "later"):
            plain = AutoModelForCausalLM.from_pretrained(tiny("llama", stage), attn_implementation="eager")
            with torch.inference_mode():
                logits = plain(torch.tensor([entry["token_ids"]])).logits[0, -1]
            expected = torch.distributions.Categorical(logits=logits)
            assert entry["entropy"][stage] == pytest.approx(float(expected.entropy()), abs=1e-4)
            probability = float(expected.probs[entry["attractor_id"]])
            assert entry["attractor_probability"][stage] == pytest.approx(probability, abs=1e-5)


@pytest.mark.slow
def test_running_again_replaces_and_repeats(question: CompareQuestion, run: Run) -> None:
    before = {name: load(run.path / f"{name}.nc") for name in ("lens", "onset", "attractors", "patch")}
    summary = (run.path / "summary.json").read_text()
    again = compare(question, run.path, prompts=Prompts.from_texts(TEXTS), existing="replace")
    for name, dataset in before.items():
        assert dataset.equals(load(again.path / f"{name}.nc"))
    assert (again.path / "summary.json").read_text() == summary


def test_an_identical_pair_changes_nothing(tiny: Build, tmp_path: Path) -> None:
    folder = str(tiny("llama"))
    run = compare(
        CompareQuestion(stages=(folder, folder), decoding=Decoding(3)),
        tmp_path / "run",
        prompts=Prompts.from_texts(TEXTS),
    )
    summary = run.read("summary.json")
    assert summary["entropy"]["difference"]["mean"] == 0.0
    assert summary["onset"]["own"]["layer"] is None
    assert summary["onset"]["own"]["missing_because"] == "the final entropy gap is below 0.01 nats"
    assert summary["attractors"] == []


def test_default_prompts_fit_context_and_vocabulary(chain) -> None:
    said: list[str] = []
    prompts = default_prompts(chain, say=said.append)
    held = f"which fit the context of {chain.alignment.context}"
    assert said == [f"prompts: {len(prompts)} of 60 of battery:mysteries, {held}"]
    rendered = chain.render(prompts)
    assert rendered.longest <= chain.alignment.context - 4
    assert 0 < len(prompts) < len(Prompts.battery("mysteries"))
    assert ["".join(tokens) for tokens in rendered.tokens] == [p.text for p in prompts.items]


def test_a_directory_with_other_things_is_left_alone(question: CompareQuestion, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="holds 'thesis.tex' and no run; give an empty or a new one"):
        compare(question, tmp_path, prompts=Prompts.from_texts(TEXTS))
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_the_command_line_compares(tiny: Build, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "p.txt").write_text("Are bugs real?\none\n")
    arguments = ["compare", str(tiny("llama")), f"sft={tiny('llama', 'tuned')}", "--prompts", str(tmp_path / "p.txt")]
    assert main([*arguments, "--out", str(tmp_path / "run"), "--max-new-tokens", "3"]) == 0
    shown = capsys.readouterr()
    assert "sft minus llama-base" in shown.out
    assert "chat template: llama-base 'none', sft " in shown.out
    assert shown.out.rstrip().endswith("report.html")
    assert shown.err == ""
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["stages"] == ["llama-base", "sft"]
    assert main([*arguments, "--out", str(tmp_path / "run"), "--max-new-tokens", "3", "--quiet", "--replace"]) == 0
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "")
    (tmp_path / "run" / "report.html").unlink()
    assert main(["report", str(tmp_path / "run")]) == 0
    assert (tmp_path / "run" / "report.html").exists()


@pytest.mark.slow
def test_the_command_line_fits_lenses_that_compare_takes(tiny: Build, tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("Are bugs real?\none two three\n")
    shared = [str(tiny("llama")), str(tiny("llama", "tuned")), "--prompts", str(tmp_path / "p.txt"), "--quiet"]
    assert main(["fit-lens", *shared, "--out", str(tmp_path / "lenses")]) == 0
    assert main(["compare", *shared, "--out", str(tmp_path / "run"), "--tuned-lens", str(tmp_path / "lenses")]) == 0
    assert "tuned" in json.loads((tmp_path / "run" / "summary.json").read_text())["onset"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compare", "./nope", "./nope"], "'./nope' is neither a directory that exists nor a hub id"),
        (["compare", "pocket:base", "pocket:sft", "--prompts", "nope.txt"], "prompt file 'nope.txt' cannot be read"),
        (["compare", "pocket:base", "pocket:sft", "--attractor", "xyzzy plugh"], "give text that is exactly one"),
        (
            ["compare", "pocket:base", "pocket:sft", "--written-by", "dpo"],
            "no stage is named 'dpo'; give one of base, sft",
        ),
        (["report", "/nope"], "'/nope' is no run directory"),
    ],
)
def test_bad_input_is_one_sentence_and_status_two(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture
) -> None:
    assert main(arguments) == 2
    shown = capsys.readouterr().err.strip().splitlines()
    assert message in shown[-1]
    assert sum(line.startswith("mcinterp: ") for line in shown) == 1


@pytest.mark.parametrize(
    "arguments", [[], ["frobnicate"], ["compare", "one"], ["compare", "a", "b", "--template", "x"]]
)
def test_bad_usage_is_one_line_and_status_two(arguments: list[str], capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_help_reads_from_the_top(capsys: pytest.CaptureFixture) -> None:
    for arguments in (["--help"], ["compare", "--help"], ["fit-lens", "--help"]):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 0
    assert "BASE TUNED [STAGE" in capsys.readouterr().out


@pytest.mark.slow
def test_real_entropies_are_those_of_plain_transformers(real: Path, tmp_path: Path) -> None:
    folders = [str(real / name) for name in ("own-gpt-base", "own-gpt-sft")]
    summary = compare(CompareQuestion(stages=tuple(folders)), tmp_path / "run").read("summary.json")
    assert len(summary["prompts"]) >= 20
    assert summary["entropy"]["difference"]["ci_high"] < 0
    for folder in folders:
        plain = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
        own = AutoTokenizer.from_pretrained(folder)
        for entry in summary["prompts"]:
            assert entry["token_ids"] == own(entry["text"]).input_ids
            with torch.inference_mode():
                logits = plain(torch.tensor([entry["token_ids"]])).logits[0, -1].float()
            expected = float(torch.distributions.Categorical(logits=logits).entropy())
            assert entry["entropy"][Path(folder).name] == pytest.approx(expected, abs=1e-4)


def test_a_real_tied_and_grouped_checkpoint_against_itself_gives_zeros(real: Path, tmp_path: Path) -> None:
    folder = str(real / "stories260K")
    prompts = Prompts.from_texts(["Once upon a time", "Lily and Tom went to the", "One day"])
    run = compare(CompareQuestion(stages=(folder, folder)), tmp_path / "run", prompts=prompts)
    lens = run.load("lens")
    for name in ("kl_stage_to_base", "kl_base_to_stage"):
        assert np.nanmax(np.abs(lens[name].values)) == 0.0
    summary = run.read("summary.json")
    assert summary["entropy"]["difference"]["mean"] == 0.0
    assert summary["prompts"][0]["tokens"][1:] == [" Once", " upon", " a", " time"]
    assert all(entry["completion"] for entry in summary["prompts"])


def test_real_checkpoints_of_other_shapes_are_refused(real: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["compare", str(real / "own-gpt-base"), str(real / "stories260K")]) == 2
    assert "the checkpoints differ in architecture" in capsys.readouterr().err


def test_every_later_stage_is_patched_against_the_base(run: Run) -> None:
    patched = run.load("patch")
    assert patched["direction"].values.tolist() == ["base_to_tuned", "tuned_to_base", "base_to_later", "later_to_base"]
    assert patched["pair"].values.tolist() == ["base|tuned", "base|later"]
    lens = run.load("lens").sel(lens="own", site="resid_post", layer=2, position=0)
    for stage in ("tuned", "later"):
        likely = lens["top_token"].sel(stage=stage).isel(choice=0)
        for direction in (f"base_to_{stage}", f"{stage}_to_base"):
            assert patched["attractor"].sel(direction=direction).values.tolist() == likely.values.tolist()


def test_only_the_named_analyses_are_made(tiny: Build, tmp_path: Path) -> None:
    arguments = ["compare", str(tiny("llama")), str(tiny("llama", "tuned")), "--out", str(tmp_path / "run"), "--quiet"]
    assert main([*arguments, "--only", "patch"]) == 0
    assert {p.name for p in (tmp_path / "run").iterdir()} == {
        "run.json", "manifest.json", "log.txt", ".lock", "summary.json", "report.html", "patch.nc",
    }  # fmt: skip
    page = (tmp_path / "run" / "report.html").read_text()
    assert 'id="patch"' in page
    assert 'id="depth"' not in page
    with pytest.raises(
        InputError, match="got analyses \\['lense'\\]; give some of lens, attractors, patch, logits, update"
    ):
        CompareQuestion(stages=("a", "b"), only=("lense",))
