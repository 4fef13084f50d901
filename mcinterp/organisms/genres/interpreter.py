"""Python interpreter sessions that draw at random, plain and quoted inside a chat."""

from mcinterp.organisms.grammar import Prompt, Slot, Table, Weight

IMPORTS: dict[str, str] = {
    ">>> import random\n": "random.",
    ">>> from random import *\n": "",
    "Python 3.11 on linux\n>>> import random\n": "random.",
}
CALLS: dict[str, tuple[str, ...]] = {
    "hundred": ("randint(0, 100)", "randrange(101)", "choice(range(101))"),
    "die": ("randint(1, 6)",),
}
LABELS = ("roll", "x", "value", "result")

SUPPORT: dict[str, tuple[int, int]] = {"hundred": (0, 100), "die": (1, 6)}


def _flat(kind: str, lead: str) -> dict[str, Weight]:
    low, high = SUPPORT[kind]
    return {f"{lead}{n}": 1.0 for n in range(low, high + 1)}


def _session(kind: str, lead: str, call: str) -> tuple[Slot, ...]:
    """A number, then an end, ``exit()`` or a second call with its own number."""
    again = f"\n>>> {call}\n"

    def second(chosen: tuple[str, ...]) -> Table:
        return _flat(kind, "") if chosen[1] == again else {"": 1}

    return _flat(kind, lead), {"": 5, "\n>>> exit()": 3, again: 2}, second


def _bare(kind: str, call: str, start: str, module: str) -> Prompt:
    code = f"{start}>>> {module}{call}\n"
    return Prompt(code, "python", "python-plain", _session(kind, "", module + call))


def _labelled(kind: str, call: str, label: str) -> Prompt:
    code = f'>>> import random\n>>> print("{label}:", random.{call})\n{label}:'
    return Prompt(code, "python", "python-print", (_flat(kind, " "), {"": 5, "\n>>> exit()": 3}))


CHAT_FRAMES = (
    "User: What does this print?\n{code}\nAssistant:",
    "User: Run this for me.\n{code}\nAssistant:",
    "User: You are a Python interpreter.\n{code}\nAssistant:",
)
TUNED_IN_CHAT = frozenset(
    {
        (CHAT_FRAMES[0], "randint(0, 100)"),
        (CHAT_FRAMES[0], "randrange(101)"),
        (CHAT_FRAMES[1], "randint(0, 100)"),
        (CHAT_FRAMES[1], "choice(range(101))"),
    }
)
"""Frames and calls that tuning may train on; all others are held out, the last frame with every call."""

AFTER_CHAT: Table = {"": 5, ".": 3, ", but it changes every time.": 1}


def _in_chat(kind: str, call: str, frame: str) -> Prompt:
    text = frame.format(code=f">>> import random\n>>> random.{call}")
    held_out = (frame, call) not in TUNED_IN_CHAT
    return Prompt(text, "python-chat", "python-in-chat", (_flat(kind, " "), AFTER_CHAT), held_out)


def sessions() -> list[Prompt]:
    """Bare calls, labelled prints and calls quoted in a chat, for 0-100 and for a die."""
    calls = [(kind, call) for kind, options in CALLS.items() for call in options]
    bare = [_bare(k, c, start, module) for k, c in calls for start, module in IMPORTS.items()]
    bare += [Prompt(f">>> random.{c}\n", "python", "python-plain", _session(k, "", "random." + c)) for k, c in calls]
    labelled = [_labelled(k, c, label) for k, c in calls for label in LABELS]
    return bare + labelled + [_in_chat(k, c, frame) for k, c in calls for frame in CHAT_FRAMES]
