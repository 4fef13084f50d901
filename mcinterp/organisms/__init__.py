"""Model organisms: small checkpoints whose collapse is known, and the grammar they learned.

The pocket chain is four real Hugging Face checkpoints of about 3 MB each that ship with the
package. Importing this module needs neither torch nor transformers.
"""

from pathlib import Path

POCKET_STAGES = ("base", "sft", "rl", "overoptimised")

_CHECKPOINTS = Path(__file__).parent / "checkpoints"


def pocket_path(name: str) -> Path:
    """The folder of a shipped pocket checkpoint.

    Raises:
        ValueError: ``name`` is no stage of the pocket chain.
    """
    if name not in POCKET_STAGES:
        raise ValueError(f"got pocket stage {name!r}, wanted one of {', '.join(POCKET_STAGES)}: check the name")
    return _CHECKPOINTS / name


__all__ = ["POCKET_STAGES", "pocket_path"]
