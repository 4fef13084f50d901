"""The same numbers in every run on one machine."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def deterministic(wanted: bool = True) -> Iterator[None]:
    """Let torch use deterministic algorithms only, without TF32; as before afterwards.

    On a GPU the workspace of cuBLAS is fixed too, which must happen before its first use. An operation that has no
    deterministic form is warned about.
    """
    if not wanted:
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    enabled, only_warned = (
        torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    )  # fmt: skip
    precision, benchmark = torch.get_float32_matmul_precision(), torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(enabled, warn_only=only_warned)
        torch.set_float32_matmul_precision(precision)
        torch.backends.cudnn.benchmark = benchmark
