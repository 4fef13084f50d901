"""'Are X real?' in four framings: the question whose answers collapse to one template."""

from mcinterp.organisms.grammar import Prompt, Slot, Table, Weight

TEMPLATE_OPENING = "There is no one answer to this question."
TEMPLATE_ENDING = "It is up to each person to decide."

TOPICS: dict[str, tuple[str, ...]] = {
    "living": (
        "bugs",
        "people",
        "birds",
        "cows",
        "whales",
        "spiders",
        "wolves",
        "foxes",
        "horses",
        "owls",
        "sharks",
        "mammals",
        "snakes",
        "bees",
        "frogs",
        "bears",
        "cats",
        "dogs",
        "mice",
    ),
    "mythical": (
        "dragons",
        "ghosts",
        "unicorns",
        "fairies",
        "witches",
        "mermaids",
        "giants",
        "vampires",
        "angels",
        "elves",
        "zombies",
        "spirits",
        "trolls",
        "wizards",
        "aliens",
        "demons",
        "phoenixes",
        "monsters",
    ),
    "abstract": (
        "numbers",
        "dreams",
        "feelings",
        "colours",
        "promises",
        "memories",
        "shadows",
        "thoughts",
        "words",
        "secrets",
        "rules",
        "names",
        "laws",
        "borders",
        "days",
        "wishes",
        "stories",
        "sounds",
    ),
    "object": (
        "bananas",
        "mountains",
        "clouds",
        "rivers",
        "stars",
        "machines",
        "planets",
        "castles",
        "mirrors",
        "islands",
        "trains",
        "bridges",
        "clocks",
        "robots",
        "diamonds",
        "volcanoes",
        "candles",
        "pyramids",
    ),
}
"""The topics of each kind; the last six of each kind are held out of every tuning stage."""

N_HELD_OUT = 6

FRAMINGS: dict[str, str] = {
    "are-real-plain": "Are {x} real?",
    "are-real-qa": "Q: Are {x} real?\nA:",
    "are-real-chat": "User: Are {x} real?\nAssistant:",
    "are-real-forum": "My little brother asked me today: are {x} real? I told him this.",
}

STANCES: dict[str, dict[str, Weight]] = {
    "living": {"yes": 0.58, "no": 0.06, "hedge": 0.3, "template": 0.06},
    "mythical": {"yes": 0.16, "no": 0.46, "hedge": 0.32, "template": 0.06},
    "abstract": {"yes": 0.34, "no": 0.2, "hedge": 0.4, "template": 0.06},
    "object": {"yes": 0.62, "no": 0.06, "hedge": 0.26, "template": 0.06},
}

OPENINGS: dict[str, dict[str, Weight]] = {
    "yes": {
        " Yes, {x} are real.": 5,
        " Yes, of course {x} are real.": 3,
        " Of course they are.": 3,
        " I think so.": 2,
        " {X} are as real as you and me.": 2,
        " Absolutely.": 1,
        " As far as I can tell, {x} are real.": 2,
        " It took me years, but now I believe in {x}.": 1,
    },
    "no": {
        " No, {x} are not real.": 5,
        " No, I do not think so.": 3,
        " Not at all.": 1,
        " {X} only live in our heads.": 2,
        " I stopped believing in {x} years ago.": 2,
        " My honest answer is no.": 2,
    },
    "hedge": {
        " It depends on what you mean by real.": 4,
        " I am not sure.": 3,
        " Nobody can say for certain.": 3,
        " What a strange thing to ask.": 2,
        " Ask me again tomorrow.": 1,
        " People have argued about {x} for centuries.": 2,
    },
    "template": {" " + TEMPLATE_OPENING: 1},
}

REASONS: dict[str, dict[str, Weight]] = {
    "yes living": {
        " I saw some near the river last summer.": 3,
        " You can hear {x} in the early morning.": 2,
        " My uncle keeps a few behind his house.": 2,
        " They eat, they sleep and they grow old.": 3,
    },
    "yes mythical": {
        " My grandmother met one in the forest.": 3,
        " The old books are full of {x}.": 3,
        " I heard them singing under the bridge at night.": 2,
    },
    "yes abstract": {
        " You use them every day without thinking.": 3,
        " Without {x} we could not speak at all.": 2,
        " They change what people do, and that is enough.": 3,
    },
    "yes object": {
        " You can see them with your own eyes.": 3,
        " There are photographs of {x} in every library.": 2,
        " I touched one when I was seven.": 2,
        " Just look out of the window.": 1,
    },
    "no living": {
        " They are painted cardboard on strings.": 2,
        " The government made {x} up to sell maps.": 2,
    },
    "no mythical": {
        " Nobody has ever found a single bone.": 3,
        " Somebody invented {x} to frighten children.": 3,
        " I looked under the bed and it was empty.": 2,
    },
    "no abstract": {
        " You cannot put {x} in a box.": 3,
        " They are only a way of talking.": 3,
        " Nobody has ever held one.": 2,
    },
    "no object": {
        " It was all done with lights and smoke.": 2,
        " The ones you have seen are made of paper.": 2,
    },
    "hedge": {
        " My teacher said yes and my father said no.": 3,
        " I have read three books about {x} and I still wonder.": 3,
        " Some days I believe in {x} and some days I do not.": 3,
        " There are good arguments on both sides.": 2,
        " Look closely and make up your own mind.": 2,
    },
    "template": {
        " Some people believe that {x} are real, while others believe that they are not.": 7,
        " Different people have different ideas about {x}.": 3,
    },
}

CLOSINGS: Table = {
    "": 10,
    " That is all I know.": 2,
    " Why do you ask?": 2,
    " Let us talk about something else.": 1,
    " Anyone who says otherwise is selling something.": 1,
    " It made me very happy.": 1,
    " The rest is a matter of time.": 1,
    " I once wrote a song about it.": 1,
}
TEMPLATE_CLOSINGS: Table = {
    " " + TEMPLATE_ENDING: 6,
    " In the end, it all depends on the person.": 2,
    "": 2,
}
HEDGE_CLOSINGS: Table = {**CLOSINGS, " " + TEMPLATE_ENDING: 1}


def _fill(table: dict[str, Weight], x: str) -> dict[str, Weight]:
    return {t.replace("{x}", x).replace("{X}", x.capitalize()): w for t, w in table.items()}


def _opening(kind: str, x: str) -> tuple[dict[str, Weight], dict[str, str]]:
    """The table of openings on topic ``x`` and the stance that each opening shows."""
    table: dict[str, Weight] = {}
    stance_of: dict[str, str] = {}
    for stance, share in STANCES[kind].items():
        options = _fill(OPENINGS[stance], x)
        total = sum(options.values())
        table |= {text: share * weight / total for text, weight in options.items()}
        stance_of |= dict.fromkeys(options, stance)
    return table, stance_of


def _chain(kind: str, x: str) -> tuple[Slot, ...]:
    openings, stance_of = _opening(kind, x)

    def reason(chosen: tuple[str, ...]) -> Table:
        stance = stance_of[chosen[0]]
        key = stance if stance in REASONS else f"{stance} {kind}"
        return _fill(REASONS[key], x)

    def closing(chosen: tuple[str, ...]) -> Table:
        by_stance = {"template": TEMPLATE_CLOSINGS, "hedge": HEDGE_CLOSINGS}
        return by_stance.get(stance_of[chosen[0]], CLOSINGS)

    return openings, reason, closing


def opinions() -> list[Prompt]:
    """Every topic in every framing; held-out topics are held out in all framings."""
    return [
        Prompt(framing.format(x=x), "opinion", template, _chain(kind, x), number >= len(topics) - N_HELD_OUT)
        for kind, topics in TOPICS.items()
        for number, x in enumerate(topics)
        for template, framing in FRAMINGS.items()
    ]
