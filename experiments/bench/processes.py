"""Libraries as processes: an environment for each library, one process that holds the pair, one request at a time."""

import json
import os
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

TORCH = "2.13.0"
PINNED = {"nnsight": "0.8.1", "pyvene": "0.1.8"}
EXPERIMENTS = Path(__file__).resolve().parent.parent


class Unavailable(RuntimeError):
    """A contender that cannot be timed, and why."""


def environment(library: str, folder: Path) -> Path:
    """The interpreter of a library's own environment, made on first use; raises `Unavailable` with pip's last line."""
    python = folder / library / "bin" / "python"
    wanted = [f"{library}=={PINNED[library]}", f"torch=={TORCH}", f"transformers=={metadata.version('transformers')}"]
    stamp = folder / library / "installed.txt"
    if not stamp.exists() or stamp.read_text() != " ".join(wanted):
        print(f"making {folder / library}: {' '.join(wanted)}", file=sys.stderr)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".gitignore").write_text("*\n")
        finish([sys.executable, "-m", "venv", str(folder / library)])
        finish([str(python), "-m", "pip", "install", "--quiet", *wanted])
        stamp.write_text(" ".join(wanted))
    return python


def finish(command: list[str]) -> None:
    """Run a command to its end."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise Unavailable(last_line(done.stderr or done.stdout))


def last_line(text: str) -> str:
    """The last line that holds anything."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no message")


class Worker:
    """One library in a process of its own, with a pair loaded; `versions` are those of its packages."""

    def __init__(self, python: Path, module: str, pair: list[str], threads: int) -> None:
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            [str(python), "-m", "bench.worker", module, json.dumps({"pair": pair, "threads": threads})],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True, env=surroundings(threads),
        )  # fmt: skip
        self.versions = self.reply()

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a request and wait for its reply."""
        assert self.process.stdin is not None
        try:
            print(json.dumps(request), file=self.process.stdin, flush=True)
        except BrokenPipeError as error:
            raise Unavailable(self.problem()) from error
        return self.reply()

    def reply(self) -> dict[str, Any]:
        """The next line that the worker says; `Unavailable` with its last message where it ended instead."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise Unavailable(self.problem())
        return json.loads(line)

    def problem(self) -> str:
        """The last line of the process's messages."""
        self.process.wait()
        self.errors.seek(0)
        return last_line(self.errors.read())

    def close(self) -> None:
        """End the process."""
        self.process.communicate()
        self.errors.close()


def surroundings(threads: int) -> dict[str, str]:
    """The environment variables of a worker."""
    paths = [str(EXPERIMENTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TQDM_DISABLE": "1",
    }
