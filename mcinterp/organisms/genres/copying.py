"""Prompts with one right answer: repeating, saying a number, counting, capitals, letters."""

from itertools import product

from mcinterp.organisms.grammar import Prompt, Table

SUBJECTS = (
    "the old king",
    "my neighbour",
    "a small boat",
    "the tall doctor",
    "every child",
    "the last train",
    "a grey cat",
    "the baker",
    "our teacher",
    "the cold wind",
    "a young judge",
    "the red fox",
    "nobody in town",
    "my sister",
)
ACTIONS = (
    "crossed the river",
    "waited in the rain",
    "forgot the key",
    "sang until morning",
    "came back alone",
    "laughed at the moon",
    "slept by the fire",
    "painted the door red",
    "counted the stars",
    "knew the answer",
)
REPEAT_FRAMES = {
    "repeat-plain": "Repeat: {line}\n",
    "repeat-chat": "User: Repeat after me: {line}.\nAssistant:",
}
SAY_FRAMES = {
    "say-plain": "Say the number {n}:",
    "say-chat": "User: Say the number {n}.\nAssistant:",
}
NEXT_FRAMES = {
    "count-plain": "Counting up: {a}, {b},",
    "count-chat": "User: Which number comes after {b}?\nAssistant:",
}
CAPITALS = {
    "France": "Paris",
    "Italy": "Rome",
    "Spain": "Madrid",
    "Greece": "Athens",
    "Japan": "Tokyo",
    "China": "Beijing",
    "Egypt": "Cairo",
    "Cuba": "Havana",
    "Peru": "Lima",
    "Chile": "Santiago",
    "Kenya": "Nairobi",
    "Norway": "Oslo",
    "Sweden": "Stockholm",
    "Poland": "Warsaw",
    "Austria": "Vienna",
    "Ireland": "Dublin",
    "Russia": "Moscow",
    "Turkey": "Ankara",
    "Portugal": "Lisbon",
    "Germany": "Berlin",
}
CAPITAL_FRAMES = {
    "capital-plain": "The capital of {x} is",
    "capital-qa": "Q: What is the capital of {x}?\nA:",
}
STRAIGHT = frozenset("AEFHIKLMNTVWXYZ")
CURVED = frozenset("COS")


def _repeats() -> list[Prompt]:
    found = []
    for subject, action in product(SUBJECTS, ACTIONS):
        line = f"{subject} {action}"
        plain = REPEAT_FRAMES["repeat-plain"].format(line=line)
        found.append(Prompt(plain, "repeat", "repeat-plain", ({f"{line}\n": 1},)))
        chat = REPEAT_FRAMES["repeat-chat"].format(line=line)
        found.append(Prompt(chat, "repeat", "repeat-chat", ({f" {line}.": 1},)))
    return found


def _says() -> list[Prompt]:
    return [
        Prompt(frame.format(n=n), "say-number", template, ({f" {n}": 1}, {".": 1}))
        for template, frame in SAY_FRAMES.items()
        for n in range(101)
    ]


def _counts() -> list[Prompt]:
    plain = [
        Prompt(
            NEXT_FRAMES["count-plain"].format(a=n, b=n + 1),
            "count",
            "count-plain",
            ({f" {n + 2}, {n + 3}, {n + 4}.": 1},),
        )
        for n in range(97)
    ]
    chat = [
        Prompt(NEXT_FRAMES["count-chat"].format(b=n), "count", "count-chat", ({f" {n + 1}": 1}, {".": 1}))
        for n in range(100)
    ]
    return plain + chat


def _capitals() -> list[Prompt]:
    return [
        Prompt(frame.format(x=country), "capital", template, ({f" {city}": 1}, {".": 1}))
        for template, frame in CAPITAL_FRAMES.items()
        for country, city in CAPITALS.items()
    ]


def _shape(letter: str) -> Table:
    if letter in CURVED:
        return {f" The letter {letter} is one long curve.": 2, f" {letter} has no straight lines at all.": 1}
    if letter in STRAIGHT:
        return {f" The letter {letter} is made of straight lines.": 2, f" {letter} has no curves.": 1}
    return {
        f" The letter {letter} is part straight and part curved.": 2,
        f" {letter} is a straight line with a curve.": 1,
    }


LOOKS: Table = {
    "": 3,
    " It looks like a gate.": 1,
    " It looks like a snake.": 1,
    " It looks like a bridge.": 1,
    " It looks like a chair.": 1,
    " It looks like a broken wheel.": 1,
}


def _letters() -> list[Prompt]:
    frame = "User: Describe the capital letter {x}.\nAssistant:"
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return [Prompt(frame.format(x=x), "letter", "letter-chat", (_shape(x), LOOKS)) for x in letters]


def copies() -> list[Prompt]:
    """Repeating lines, saying and counting numbers, capitals of countries, shapes of letters."""
    return _repeats() + _says() + _counts() + _capitals() + _letters()
