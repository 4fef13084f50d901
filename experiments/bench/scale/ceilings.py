"""What a machine reaches at its best, measured beside the figures: matrix products, copies, the bus and the disk."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import torch

WIDTH = {"cpu": 1024, "cuda": 8192}
COPIED = {"cpu": 2**28, "cuda": 2**32}
REPEATS = 10
PIECE = 2**24


def synchronise(device: str) -> None:
    """Wait for a device."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def best(work: Callable[[], object], device: str) -> float:
    """Seconds of the quickest repetition, after one for warming up."""
    taken = []
    for _ in range(REPEATS + 1):
        synchronise(device)
        start = time.perf_counter()
        work()
        synchronise(device)
        taken.append(time.perf_counter() - start)
    return min(taken[1:])


def products(device: str, dtype: torch.dtype) -> float:
    """Floating-point operations a second of a large square matrix product."""
    width = WIDTH[device.split(":")[0]]
    left, right = (torch.randn(width, width, device=device, dtype=dtype) for _ in range(2))
    return 2 * width**3 / best(lambda: left @ right, device)


def copies(device: str) -> float:
    """Bytes a second, read and written, of a large copy within the device's memory."""
    source = torch.zeros(COPIED[device.split(":")[0]], dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / best(lambda: target.copy_(source), device)


def bus(device: str) -> float | None:
    """Bytes a second from pinned host memory to a card; nothing on a CPU."""
    if not device.startswith("cuda"):
        return None
    source = torch.zeros(COPIED["cpu"], dtype=torch.uint8).pin_memory()
    target = torch.empty_like(source, device=device)
    return source.nbytes / best(lambda: target.copy_(source), device)


def disk(file: Path) -> dict[str, float]:
    """Bytes a second of reading a file from front to back: from the disk, and again from the page cache."""
    forget_pages(file)
    return {"disk": reading_rate(file), "cached": reading_rate(file)}


def reading_rate(file: Path) -> float:
    """Bytes a second of one sequential reading."""
    buffer = bytearray(PIECE)
    start = time.perf_counter()
    with open(file, "rb", buffering=0) as opened:
        while opened.readinto(buffer):
            pass
    return file.stat().st_size / (time.perf_counter() - start)


def forget_pages(file: str | Path) -> None:
    """Have the system drop what it keeps of a file, so that it is next read from the disk."""
    handle = os.open(file, os.O_RDONLY)
    try:
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(handle)
