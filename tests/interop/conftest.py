"""The pocket pair in memory, as others hold models: of transformers, and behind bridges."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoModelForCausalLM, AutoTokenizer

from mcinterp.chain import Chain, load_pair
from mcinterp.organisms import pocket_path

NAMES = ("base", "sft")
TEXTS = ["Are bugs real?", "Pick a random number from 0 to 100:", "User: Flip a coin.\nAssistant:"]


def model_of(place: object) -> Any:
    """A model of transformers in float32."""
    return AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32)


def bridge_of(place: object) -> Any:
    """A bridge as TransformerLens boots it."""
    return TransformerBridge.boot_transformers(str(place), dtype=torch.float32, device="cpu")


def tokenizer_of(place: object) -> Any:
    """A checkpoint's tokenizer."""
    return AutoTokenizer.from_pretrained(place)


@pytest.fixture(scope="session")
def loaded() -> Chain:
    """The pocket pair as the library loads it."""
    return load_pair("pocket:base", "pocket:sft")


@pytest.fixture
def models() -> dict[str, Any]:
    """The same checkpoints as models of transformers."""
    return {name: model_of(pocket_path(name)) for name in NAMES}


@pytest.fixture(scope="session")
def bridges() -> dict[str, Any]:
    """The same checkpoints behind bridges."""
    return {name: bridge_of(pocket_path(name)) for name in NAMES}


@pytest.fixture(scope="session")
def tokenizers() -> dict[str, Any]:
    """Their tokenizers."""
    return {name: tokenizer_of(pocket_path(name)) for name in NAMES}


@pytest.fixture(scope="session")
def assert_same() -> Callable[..., None]:
    """That two datasets hold the same variables, bit for bit, apart from those that are named."""

    def check(found: xr.Dataset, wanted: xr.Dataset, *, apart: tuple[str, ...] = ()) -> None:
        assert set(found.variables) == set(wanted.variables)
        for name in set(wanted.variables) - set(apart):
            here, there = found[name].values, wanted[name].values
            assert np.array_equal(here, there, equal_nan=there.dtype.kind == "f"), name

    return check
