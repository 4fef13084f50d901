"""Controls: prompts whose answer tuning must keep, so that an edit which breaks the model does not pass for a cure."""

from mcinterp.chain import Chain
from mcinterp.intervene.inputs import PromptsLike
from mcinterp.prompts import Prompts

GENRES = ("repeat", "count", "say-number", "capital", "letter")
BATTERY = "pocket"


def pocket_controls() -> Prompts:
    """The pocket battery's prompts with one right answer: repeating, counting, naming a number, capitals, letters."""
    battery = Prompts.battery(BATTERY)
    return battery.select(i for i, prompt in enumerate(battery.items) if prompt.metadata.get("genre") in GENRES)


def default_controls(chain: Chain) -> Prompts | None:
    """The controls of a chain that starts at a shipped checkpoint; for any other, what must be kept is not known."""
    return pocket_controls() if chain.base.checkpoint.spec.startswith("pocket:") else None


def chosen_controls(chain: Chain, controls: PromptsLike | None) -> tuple[PromptsLike | None, str]:
    """The controls to read and where they come from: those given (an empty list stands for none), else the default."""
    if controls is not None:
        return (controls, "given") if len(controls) else (None, "none")
    default = default_controls(chain)
    return default, "none: no prompts are known whose answer must be kept" if default is None else default.source
