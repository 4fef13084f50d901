"""The names of `import mcinterp`: all there, none hidden by a module, and cheap to import."""

import subprocess
import sys
from pathlib import Path

import pytest

import mcinterp

ROOT = Path(mcinterp.__file__).parent


@pytest.mark.parametrize("name", sorted(mcinterp.HOMES))
def test_a_public_name_stays_what_it_is_after_its_module_was_imported(name: str) -> None:
    first = getattr(mcinterp, name)
    assert getattr(mcinterp, name) is first
    assert callable(first)
    assert (first.__doc__ or "").strip()
    assert name in dir(mcinterp)


def test_no_public_name_is_a_modules() -> None:
    rooms = {path.stem for path in ROOT.glob("*.py")} | {path.name for path in ROOT.iterdir() if path.is_dir()}
    assert not rooms & set(mcinterp.HOMES)


def test_what_type_checkers_see_is_what_there_is() -> None:
    text = (ROOT / "__init__.py").read_text(encoding="utf-8")
    for name, home in mcinterp.HOMES.items():
        assert f"    from mcinterp.{home} import {name} as {name}\n" in text, name


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'logitlens'"):
        mcinterp.logitlens  # noqa: B018


def test_importing_the_package_imports_little() -> None:
    """Not even numpy, so that importing costs what Python's own modules cost."""
    code = "import sys, mcinterp; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"numpy", "torch", "transformers", "xarray", "pandas", "transformer_lens", "altair"} & set(loaded)
