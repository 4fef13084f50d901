"""Activations on disk while models take turns in memory: one file, memory-mapped, with a checksum for every tensor."""

import tempfile
import zlib
from collections.abc import Hashable
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import torch

from mcinterp.errors import InputError, first_line

ALIGNED = 64


class Region(NamedTuple):
    """Where a tensor lies in the file, and the checksum of its bytes."""

    offset: int
    shape: tuple[int, ...]
    dtype: torch.dtype
    checksum: int


class ActivationStore:
    """Tensors by key in a temporary file, in their own dtype or one of half the width.

    The file is removed with the store. Raises `InputError` where it cannot be written, or what is read is not what was
    written.
    """

    def __init__(self, folder: str | Path | None = None, dtype: torch.dtype | None = None) -> None:
        self.file: IO[bytes] = tempfile.NamedTemporaryFile(prefix="mcinterp-activations-", dir=folder)  # noqa: SIM115
        self.dtype = dtype
        self.regions: dict[Hashable, Region] = {}
        self.end: int = 0
        self.mapped: np.memmap | None = None

    def __contains__(self, key: Hashable) -> bool:
        return key in self.regions

    def put(self, key: Hashable, tensor: torch.Tensor) -> None:
        """Write a tensor; one that stood under the same key is forgotten."""
        kept = tensor.detach().to("cpu", self.dtype).contiguous()
        raw = kept.flatten().view(torch.uint8).numpy()
        try:
            self.file.seek(self.end)
            self.file.write(raw.data)
            self.file.flush()
        except OSError as error:
            raise InputError(
                f"activations cannot be written to {self.file.name!r} ({first_line(error)}); free space, or name "
                f"another place by TMPDIR."
            ) from error
        self.regions[key] = Region(self.end, tuple(kept.shape), kept.dtype, zlib.crc32(raw.data))
        self.end += -(-raw.nbytes // ALIGNED) * ALIGNED

    def get(self, key: Hashable) -> torch.Tensor:
        """A tensor as it was written, memory-mapped: read from disk as it is used."""
        region = self.regions[key]
        width = torch.empty(0, dtype=region.dtype).element_size()
        size = width * int(np.prod(region.shape))
        if size == 0:
            return torch.empty(region.shape, dtype=region.dtype)
        if self.mapped is None or self.mapped.size < region.offset + size:
            self.mapped = np.memmap(self.file.name, dtype=np.uint8, mode="c")
        raw = self.mapped[region.offset : region.offset + size]
        if zlib.crc32(raw.data) != region.checksum:
            raise InputError(f"the activations in {self.file.name!r} were damaged on disk; run it again.")
        return torch.from_numpy(raw).view(region.dtype).view(region.shape)

    def forget(self) -> None:
        """Forget all tensors; the file begins anew."""
        self.regions.clear()
        self.mapped, self.end = None, 0
        self.file.truncate(0)
