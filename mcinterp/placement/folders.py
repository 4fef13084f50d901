"""Temporary folders that live as long as what reads from them."""

import shutil
import tempfile
import weakref
from pathlib import Path


class TemporaryFolder:
    """A folder of its own, removed without a word when nothing holds this any more, or at the end of the process."""

    def __init__(self, prefix: str) -> None:
        self.path: Path = Path(tempfile.mkdtemp(prefix=prefix))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)
