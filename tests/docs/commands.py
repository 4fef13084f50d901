"""Lines of a block of shell: run as they stand, or checked against what they name where they install or build."""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import torch
from pages import ROOT

from mcinterp.cli import main, parser

SYNOPSIS = re.compile(r"\b(BASE|TUNED|RUN_DIR|DIR|FILE)\b|\.\.\.")
OPTION = re.compile(r"--[a-z][a-z-]+")
REFUSED = "cannot be used on this machine; give cpu, or a device that is there."
MEASURED_ELSEWHERE = {
    "experiments/bench_patching.py": "an hour, and other libraries in environments of their own",
    "experiments/bench_scale.py": "random models of billions of parameters, on a GPU",
    "experiments/bench_ray.py": "starts and kills Ray nodes for half an hour",
    "experiments/sae_features.py": "trains autoencoders in an environment of their own",
    "experiments/saelens/train.py": "the same",
}
"""Programs that are not run here, and why; that they exist and take the options shown is checked."""

SMOL = "HuggingFaceTB/SmolLM2-135M HuggingFaceTB/SmolLM2-135M-Instruct"
STAND_INS = {
    f"mcinterp compare {SMOL} --out runs/smol": f"mcinterp compare {SMOL} --prompts two.txt --out runs/smol",
    "mcinterp locate catalogue:smollm2-135m --out runs/where": (
        "mcinterp locate catalogue:smollm2-135m --prompts two.txt --out runs/where"
    ),
    "make compare": "mcinterp compare pocket:base pocket:sft --only lens --prompts two.txt --out runs/pocket --quiet",
    "mcinterp attribute pocket:base pocket:sft --what logits,update,grafts,shapley,entropy_split,temperature,screen": (
        "mcinterp attribute pocket:base pocket:sft --what logits,update,grafts,shapley,entropy_split,temperature,screen"
        " --prompts two.txt"
    ),
}
"""What is run in the place of a line that would take minutes: the same with fewer prompts, stages and analyses."""

ANSWERS: dict[str, tuple[Path | None, str]] = {}
"""What lines of shipped checkpoints and batteries wrote and printed: the same line on another page gives the same."""


def lines_of(text: str) -> Iterator[str]:
    """Command lines of a block: continued lines joined, comments taken away."""
    joined = re.sub(r"\\\n\s*", " ", text)
    for line in joined.splitlines():
        words = shlex.split(line, comments=True, posix=False)
        if words:
            yield " ".join(words)


def run_block(text: str, keep: Path) -> str:
    """Run the lines of a block; what they printed."""
    if SYNOPSIS.search(text):
        check_synopsis(re.sub(r"\n\s+", " ", text))
        return ""
    return "".join(run_line(part.strip(), keep) for line in lines_of(text) for part in line.split(" && "))


def run_line(line: str, keep: Path) -> str:
    """Run one line, or check it; what it printed."""
    words = shlex.split(STAND_INS.get(line, line))
    while "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        os.environ[name] = value
    if words[0] == "mcinterp":
        return mcinterp(words[1:], keep)
    if Path(words[0]).name in CHECKS:
        CHECKS[Path(words[0]).name](words)
        return ""
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{line}: {done.stderr}"
    return done.stdout


def mcinterp(words: list[str], keep: Path) -> str:
    """Run a verb. Without a GPU a line that wants one is refused in the documented sentence, then run on the CPU."""
    if "cuda" in words and not torch.cuda.is_available():
        code, said = called(words)
        assert (code, said.strip().endswith(REFUSED)) == (2, True), said
        words = ["cpu" if word == "cuda" else word for word in words]
    line, out = shlex.join(words), out_of(words)
    if line in ANSWERS and not (out and out.exists()):
        kept, said = ANSWERS[line]
        if kept and out:
            shutil.copytree(kept, out)
        return said
    code, said = called(words)
    assert code == 0, f"{line}: {said}"
    if all(word.startswith("pocket:") for word in words[1:3]) and "my" not in line and ".txt" not in line:
        ANSWERS[line] = (shutil.copytree(out, keep / str(len(ANSWERS))) if out else None, said)
    return said


def out_of(words: list[str]) -> Path | None:
    """Where a line writes."""
    return Path(words[words.index("--out") + 1]) if "--out" in words else None


def called(words: list[str]) -> tuple[int, str]:
    """The exit status of the command line, and what it said on both streams."""
    from contextlib import redirect_stderr, redirect_stdout
    from io import StringIO

    said = StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        try:
            code = main(words)
        except SystemExit as left:
            code = int(left.code or 0)
    return code, said.getvalue()


def check_synopsis(text: str) -> None:
    """Every verb and option of a synopsis is one of the parser's."""
    for line in lines_of(text.replace("[", " ").replace("]", " ").replace("|", " ")):
        if line.startswith("mcinterp "):
            verb = verb_parser(line.split()[1:])
            known = {option for action in verb._actions for option in action.option_strings}
            assert set(OPTION.findall(line)) <= known, line


def verb_parser(words: list[str]) -> argparse.ArgumentParser:
    """The parser of the verb that a line begins with."""
    found: argparse.ArgumentParser = parser()
    for word in words:
        verbs = [action for action in found._actions if isinstance(action, argparse._SubParsersAction)]
        if not verbs:
            break
        found = verbs[0].choices[word]
    return found


def check_make(words: list[str]) -> None:
    """The target stands in the Makefile."""
    for target in words[1:]:
        assert re.search(rf"^{re.escape(target)}:", (ROOT / "Makefile").read_text(), re.MULTILINE), target


def check_pip(words: list[str]) -> None:
    """The package is this one, its extras exist, and files that are named are there."""
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert words[1] == "install", words
    for word in words[2:]:
        extras = re.search(r"\[(.+)\]$", word)
        assert set(extras[1].split(",") if extras else ()) <= set(known), word
        assert not word.endswith(".txt") or (ROOT / word).exists(), word


def check_python(words: list[str]) -> None:
    """A script of the repository that is measured elsewhere: it is there, and its options are in its source."""
    if words[1:3] == ["-m", "venv"]:
        return
    script = ROOT / words[1]
    assert words[1] in MEASURED_ELSEWHERE, f"{words[1]} is run by nothing"
    package = script.parent / "bench"
    source = "".join(file.read_text() for file in [script, *package.rglob("*.py")])
    assert all(f'"{word}"' in source for word in words[2:] if word.startswith("--")), words


def check_nothing(words: list[str]) -> None:
    """Programs of the system."""


CHECKS = {"make": check_make, "pip": check_pip, "python": check_python, "git": check_nothing, "apt-get": check_nothing}
