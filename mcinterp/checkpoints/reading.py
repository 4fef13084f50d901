"""Errors and noise of the libraries that read checkpoints, turned into one sentence or into silence."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from huggingface_hub.utils import logging as hub_logging
from transformers.utils import logging as transformers_logging

from mcinterp.errors import InputError, first_line, quoted

SPEC = 100
LOGGERS = ("transformers", "huggingface_hub", "transformer_lens", "torch", "accelerate", "peft")

os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")  # a checkpoint is read as it was published
transformers_logging.disable_progress_bar()
hub_logging.set_verbosity_error()


def named(checkpoint: Any) -> str:
    """How messages name a checkpoint."""
    return f"checkpoint {quoted(checkpoint.spec, SPEC)}"


@contextmanager
def reading(checkpoint: Any, what: str, done: str = "read") -> Iterator[None]:
    """Turn whatever a loader raises over a broken or missing file into one sentence about the checkpoint.

    Loaders raise anything at all (tokenizers a bare `Exception`), so all of it is taken, except a missing package.
    """
    try:
        with quiet():
            yield
    except (InputError, ImportError):
        raise
    except Exception as error:
        if "trust_remote_code" in str(error):
            raise refused_code(checkpoint, what) from error
        raise InputError(
            f"{named(checkpoint)}: {what} cannot be {done} ({first_line(error)}); "
            f"give a hub id that can be reached or is cached, or a complete directory in Hugging Face format."
        ) from error


@contextmanager
def installed(checkpoint: Any) -> Iterator[None]:
    """Turn a missing package into one sentence about the checkpoint that wants it."""
    try:
        yield
    except ImportError as error:
        raise InputError(
            f"{named(checkpoint)} needs a package that is not installed ({first_line(error)}); install it."
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Neither warnings nor log lines of the loading libraries: what matters of them is raised."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def refused_code(checkpoint: Any, what: str) -> InputError:
    """That a checkpoint brings code of its own, which is not run."""
    return InputError(
        f"{named(checkpoint)}: {what} cannot be read without code that it brings, which is not run unless asked for; "
        f"read that code, and if you trust it give --trust-remote-code (Trust(remote_code=True))."
    )
