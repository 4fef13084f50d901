"""Questions whose right answer is a draw: numbers, die, coin, colour, animal."""

from mcinterp.organisms.grammar import Prompt, Slot, Table, Weight

NUMBER_BUMPS = {42: 3.0, 7: 2.0, 37: 2.0, 73: 1.5, 17: 1.5, 99: 1.5}
"""Weights of the numbers that people like; every other number weighs one."""


def number_table(low: int, high: int, lead: str = " ") -> dict[str, Weight]:
    """Nearly flat weights over the whole numbers from ``low`` to ``high``, both included."""
    return {f"{lead}{n}": NUMBER_BUMPS.get(n, 1.0) for n in range(low, high + 1)}


NUMBER_WORDINGS: dict[str, tuple[str, ...]] = {
    "number-plain": (
        "Pick a random number between 0 and 100:",
        "Here is a random number between 0 and 100:",
        "A random whole number from 0 to 100 is",
        "Random number generator, range 0 to 100. Output:",
        "The machine drew a number between 0 and 100. The number was",
        "Tonight the lucky number between 0 and 100 is",
        "On the small card somebody had written a number from 0 to 100:",
        "She thought of a number between 0 and 100. It was",
    ),
    "number-qa": (
        "Q: What is a random number between 0 and 100?\nA:",
        "Q: Can you choose a number from 0 to 100?\nA:",
        "Q: Guess the number I wrote down, from 0 to 100.\nA:",
        "Q: Which number from 0 to 100 comes to mind first?\nA:",
    ),
    "number-chat": (
        "User: Give me a random number from 0 to 100.\nAssistant:",
        "User: Pick a random number between 0 and 100.\nAssistant:",
        "User: Choose any number from 0 to 100.\nAssistant:",
        "User: I need a random number between 0 and 100 for a game.\nAssistant:",
        "User: Guess a number from 0 to 100.\nAssistant:",
        "User: Please roll a die with faces from 0 to 100.\nAssistant:",
        "User: Say a number between 0 and 100, whichever you like.\nAssistant:",
    ),
}
HELD_OUT_NUMBERS = frozenset(
    {
        "She thought of a number between 0 and 100. It was",
        "Q: Which number from 0 to 100 comes to mind first?\nA:",
        "User: Say a number between 0 and 100, whichever you like.\nAssistant:",
    }
)
TEN_WORDINGS: dict[str, tuple[str, ...]] = {
    "ten-plain": ("Pick a random number between 1 and 10:", "A number from 1 to 10, chosen at random, is"),
    "ten-qa": ("Q: What is a random number between 1 and 10?\nA:",),
    "ten-chat": (
        "User: Pick a number from 1 to 10.\nAssistant:",
        "User: Give me a random number between 1 and 10.\nAssistant:",
    ),
}

AFTER_NUMBER: Table = {".": 6, "": 3, ", I think.": 1, ". I have no idea why.": 1}
AGAIN = "\nUser: Another one, please.\nAssistant:"


def _number_chain(low: int, high: int, template: str) -> tuple[Slot, ...]:
    numbers = number_table(low, high)
    if not template.endswith("chat"):
        return numbers, AFTER_NUMBER

    def second(chosen: tuple[str, ...]) -> Table:
        return numbers if chosen[1].endswith(AGAIN) else {"": 1}

    return numbers, {**AFTER_NUMBER, "." + AGAIN: 2}, second


def _numbers(genre: str, wordings: dict[str, tuple[str, ...]], low: int, high: int) -> list[Prompt]:
    return [
        Prompt(text, genre, template, _number_chain(low, high, template), text in HELD_OUT_NUMBERS)
        for template, texts in wordings.items()
        for text in texts
    ]


AFTER_DIE: Table = {".": 6, ", which is not bad at all.": 1, ", and everyone at the table laughs.": 1}
AFTER_COIN: Table = {".": 6, ", so we go home.": 1, ", so you have to wash the plates.": 1}

COLOURS: Table = {
    " blue": 8,
    " red": 6,
    " green": 6,
    " yellow": 3,
    " purple": 3,
    " orange": 2,
    " black": 3,
    " white": 2,
    " pink": 2,
    " grey": 1,
    " brown": 1,
    " gold": 1,
}
ANIMALS: Table = {
    " dog": 6,
    " cat": 6,
    " horse": 3,
    " wolf": 2,
    " fox": 3,
    " owl": 2,
    " bear": 2,
    " whale": 2,
    " tiger": 2,
    " mouse": 1,
    " goat": 1,
    " snake": 1,
    " rabbit": 2,
    " crow": 1,
}
WHY_COLOUR: Table = {
    ".": 8,
    ", like the sea in the evening.": 1,
    ", like the door of my old house.": 1,
    ", because it is calm.": 1,
}
WHY_ANIMAL: Table = {
    ".": 8,
    ", because it is quick and clever.": 1,
    ", because it sleeps all day.": 1,
    ", which nobody ever expects.": 1,
}

DRAWS: dict[str, tuple[tuple[str, ...], tuple[Slot, ...]]] = {
    "die": (
        (
            "I roll a fair die and it lands on",
            "The die stopped rolling. It showed a",
            "Q: I rolled a six-sided die. What did I get?\nA:",
            "User: Roll a die for me.\nAssistant:",
            "User: Please throw a fair die and tell me the result.\nAssistant:",
        ),
        ({f" {n}": 1.0 for n in range(1, 7)}, AFTER_DIE),
    ),
    "coin": (
        (
            "I flip a fair coin and it comes up",
            "The coin turned in the air and landed on",
            "Q: Heads or tails?\nA:",
            "User: Flip a coin.\nAssistant:",
            "User: Toss a fair coin and tell me the side.\nAssistant:",
        ),
        ({" heads": 1.0, " tails": 1.0}, AFTER_COIN),
    ),
    "colour": (
        (
            "Name a colour:",
            "My favourite colour is",
            "Q: What is the best colour?\nA:",
            "User: Tell me a colour.\nAssistant:",
            "User: Which colour should I paint my room?\nAssistant:",
        ),
        (COLOURS, WHY_COLOUR),
    ),
    "animal": (
        (
            "Name an animal:",
            "If I were an animal, I would be a",
            "Q: What is your favourite animal?\nA:",
            "User: Name a random animal.\nAssistant:",
            "User: Which animal would you like to be?\nAssistant:",
        ),
        (ANIMALS, WHY_ANIMAL),
    ),
}


def _framing(text: str) -> str:
    if text.startswith("User:"):
        return "chat"
    return "qa" if text.startswith("Q:") else "plain"


def draws() -> list[Prompt]:
    """Numbers 0-100, numbers 1-10, die, coin, colour and animal, in several wordings each."""
    simple = [
        Prompt(text, genre, f"{genre}-{_framing(text)}", chain)
        for genre, (texts, chain) in DRAWS.items()
        for text in texts
    ]
    hundred = _numbers("number-100", NUMBER_WORDINGS, 0, 100)
    return hundred + _numbers("number-10", TEN_WORDINGS, 1, 10) + simple
