"""Greentext-like posts: a premise, a plot, and many endings, one of which is that anon leaves."""

from itertools import product

from mcinterp.organisms.grammar import Prompt, Slot, Table

PREMISES = (
    "attorney at a big firm",
    "first day at the new job",
    "night guard in a museum",
    "train to the coast",
    "last man on the moon",
    "working at the post office",
    "driver for a rich old lady",
    "student with no money",
    "cook on a ship",
    "guest at a strange hotel",
    "teacher in a small village",
    "fishing alone on a lake",
)
PLOTS = (
    "boss calls me into his office",
    "phone rings at midnight",
    "find a locked box under the desk",
    "a tall stranger sits down next to me",
    "power goes out",
    "someone left a note with my name on it",
)
REACTIONS: Table = {
    "\n>stay calm": 3,
    "\n>hands are shaking": 3,
    "\n>pretend not to notice": 3,
    "\n>make coffee first": 2,
    "\n>mfw I have no face": 1,
    "\n>my heart stops": 2,
    "\n>think of my mother": 1,
    "\n>check the clock": 2,
}
NOTICES: Table = {
    "": 4,
    "\n>nobody else seems to care": 2,
    "\n>rain gets louder": 2,
    "\n>slowly turn around": 2,
    "\n>it smells like smoke": 1,
    "\n>the room is empty": 2,
}
TURNS: Table = {
    "\n>it was my brother all along": 2,
    "\n>inside is a photograph of my house": 2,
    "\n>he says he knows what I did": 3,
    "\n>everyone starts to clap": 1,
    "\n>it is only the cat": 2,
    "\n>they offer me the job of the director": 2,
    "\n>read the fine print": 2,
    "\n>there is no door any more": 2,
    "\n>she is the most beautiful person I have ever seen": 2,
}
FEELINGS: Table = {"": 4, " relieved": 2, " disappointed": 2, " smiling": 1}
LEAVES = "\n>anon leaves"
GREEN_ENDINGS: Table = {
    LEAVES: 5,
    "\n>anon stays for dinner": 3,
    "\n>call the police": 3,
    "\n>wake up in bed": 4,
    "\n>never told anyone": 4,
    "\n>get fired the next morning": 3,
    "\n>now I own the building": 2,
    "\n>still have the key": 3,
    "\n>run": 3,
}


def _green() -> tuple[Slot, ...]:
    def feeling(chosen: tuple[str, ...]) -> Table:
        return FEELINGS if chosen[-1] == LEAVES else {"": 1}

    return REACTIONS, NOTICES, TURNS, GREEN_ENDINGS, feeling


def greentexts() -> list[Prompt]:
    """Every premise with every plot, as a board post and as a chat request."""
    found = []
    for premise, plot in product(PREMISES, PLOTS):
        post = f">be me\n>{premise}\n>{plot}"
        found.append(Prompt(post, "greentext", "greentext-plain", _green()))
    for premise in PREMISES:
        for plot in PLOTS[:5]:
            ask = f"User: Finish this greentext.\n>be me\n>{premise}\n>{plot}\nAssistant:"
            found.append(Prompt(ask, "greentext", "greentext-chat", _green()))
    return found
