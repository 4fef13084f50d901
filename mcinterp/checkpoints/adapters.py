"""What a PEFT adapter's own configuration says of its base."""

import json
from pathlib import Path

from mcinterp.checkpoints.reading import SPEC
from mcinterp.errors import InputError, first_line, quoted

ADAPTER_FILE = "adapter_config.json"


def declared_base(spec: str, file: Path) -> str:
    """The base checkpoint that an adapter's configuration names; an empty text where it names none."""
    try:
        read = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"adapter {quoted(spec, SPEC)}: {ADAPTER_FILE} is not JSON ({first_line(error)}); save it again."
        ) from error
    declared = read.get("base_model_name_or_path") if isinstance(read, dict) else read
    if declared is not None and not isinstance(declared, str):
        raise InputError(
            f"adapter {quoted(spec, SPEC)}: {ADAPTER_FILE} names {quoted(declared)} as its base, and text is wanted; "
            f"save it again."
        )
    return declared or ""


def refuse_stacked(spec: str, stacked: bool) -> None:
    """Refuse an adapter whose base is an adapter in turn."""
    if stacked:
        raise InputError(
            f"adapter {quoted(spec, SPEC)} stands on another adapter; merge that one into its base first and give the "
            f"merged checkpoint."
        )
