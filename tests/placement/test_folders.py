"""Temporary folders go with what holds them, and nothing is said of it."""

import gc
import warnings

from mcinterp.placement.folders import TemporaryFolder


def test_a_folder_lives_as_long_as_what_holds_it() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        folder = TemporaryFolder("mcinterp-test-")
        path = folder.path
        (path / "file").write_text("held")
        assert (path / "file").read_text() == "held"
        del folder
        gc.collect()
        assert not path.exists()
