"""The memory of this process while something runs: anonymous and file-backed pages apart, and the kernel's own peak."""

import ctypes
import gc
import threading
from pathlib import Path
from types import TracebackType

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
KINDS = {"anonymous": "RssAnon", "file": "RssFile"}
RESET_PEAK = "5"
EVERY = 0.002


def status() -> dict[str, int]:
    """All sizes of this process in bytes, as the kernel names them."""
    lines = (line.split() for line in STATUS.read_text().splitlines() if line.endswith(" kB"))
    return {name.rstrip(":"): 1024 * int(size) for name, size, _ in lines}


class Meter:
    """Peaks above what the process held when this was entered: `with Meter() as meter: ...; meter.peaks()`.

    `anonymous` and `file` pages are sampled every two milliseconds; `resident` is the kernel's own peak of all pages.
    """

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.highest = dict.fromkeys(KINDS, 0)
        self.samples = 0
        self.thread = threading.Thread(target=self.watch, daemon=True)

    def __enter__(self) -> "Meter":
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        CLEAR.write_text(RESET_PEAK)
        self.before = status()
        self.thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.ended.set()
        self.thread.join()
        self.after = status()

    def watch(self) -> None:
        """Sample until the end."""
        while not self.ended.wait(EVERY):
            now = status()
            self.highest = {name: max(held, now[KINDS[name]]) for name, held in self.highest.items()}
            self.samples += 1

    def peaks(self) -> dict[str, int]:
        """Peaks in bytes above the beginning, and what there was then."""
        above = {f"peak_{name}": self.highest[name] - self.before[kind] for name, kind in KINDS.items()}
        resident = self.after["VmHWM"] - self.before["VmRSS"]
        before = {"before_anonymous": self.before["RssAnon"], "before_data": self.before["VmData"]}
        return {**above, "peak_resident": resident, **before, "samples": self.samples}
