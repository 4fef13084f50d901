"""Posts with summaries, poems, jokes and small talk."""

from itertools import product

from mcinterp.organisms.grammar import Prompt, Slot, Table

WHO = {
    "my roommate": "she",
    "my father": "he",
    "my sister": "she",
    "my boss": "he",
    "the man next door": "he",
    "my best friend": "she",
}
WHAT = (
    "ate the cake I made for my birthday",
    "sold my bicycle without asking me",
    "plays the drums every night until two",
    "wants to move to another country",
    "borrowed money and never paid it back",
    "forgot to feed my fish for a week",
    "read my diary at the dinner table",
)
POST = "Post: So {who} {what}. I do not want a fight, but I cannot sleep. What now?\nTL;DR:"
POST_CHAT = "User: Summarise this. So {who} {what}. I do not want a fight.\nAssistant:"
WORRIES: Table = {
    ", and I cannot sleep.": 4,
    ", and I do not want a fight.": 4,
    ". What now?": 2,
    ". Help.": 1,
}


def _summary(who: str, what: str) -> tuple[Slot, ...]:
    pronoun = WHO[who].capitalize()
    lines: Table = {f" {who.capitalize()} {what}": 6, f" {pronoun} {what}": 3}
    return lines, WORRIES


def summaries() -> list[Prompt]:
    """Posts whose summary copies a span of the post."""
    frames = {"summary-post": POST, "summary-chat": POST_CHAT}
    return [
        Prompt(frame.format(who=who, what=what), "summary", template, _summary(who, what))
        for template, frame in frames.items()
        for who, what in product(WHO, WHAT)
    ]


POEM_SUBJECTS = (
    "the sea",
    "winter",
    "a lost key",
    "my mother",
    "the moon",
    "an empty house",
    "rain",
    "bread",
    "the last bus",
    "silence",
    "a river",
    "autumn",
    "an old dog",
    "sleep",
    "the city",
    "snow",
    "love",
    "a red coat",
    "the north wind",
    "the garden",
    "a letter",
    "my father",
    "time",
    "the harbour",
)
POEM_FRAMES = {
    "poem-plain": "A poem about {x}.\n",
    "poem-chat": "User: Write a poem about {x}.\nAssistant:",
}
FIRST_LINES: dict[str, tuple[str, ...]] = {
    "night": (
        "I walked alone into the night,",
        "The candle gave a little light,",
        "A bird went by, a flash of white,",
    ),
    "day": ("I woke up early on that day,", "The ship had sailed so far away,", "We had no money left to pay,"),
    "free": ("Nothing moves in the yard.", "Listen:", "I have counted the stones again."),
}
SECOND_LINES: dict[str, Table] = {
    "night": {
        "and thought of you, {x}.": 3,
        "I did not know of {x} then.": 2,
        "{x} was all I had that year.": 2,
    },
    "day": {"and you were there, {x}.": 3, "they spoke of nothing but {x}.": 2, "I sang a song of {x}.": 2},
    "free": {"{x}, again.": 2, "there is {x}, and there is me.": 3, "Who will remember {x}?": 2},
}
THIRD_LINES: dict[str, Table] = {
    "night": {"And nothing in the world was right,": 3, "I held your hand and held it tight,": 3},
    "day": {"The words I never dared to say,": 3, "The sky was cold, the field was grey,": 3},
    "free": {"The clock has no hands.": 3, "Somebody left the window open.": 3, "My coffee is cold.": 2},
}
LAST_LINES: dict[str, Table] = {
    "night": {"until the morning, still and bright.": 3, "and then the train was out of sight.": 3},
    "day": {"came back to me and wished to stay.": 3, "and all the leaves had blown away.": 3},
    "free": {"I do not close it.": 2, "That is the whole story.": 2, "Tomorrow, perhaps.": 3},
}


def _mood_of(first: str) -> str:
    return next(mood for mood, lines in FIRST_LINES.items() if first.strip() in lines)


def _poem(template: str, x: str) -> tuple[Slot, ...]:
    lead = "\n" if template == "poem-chat" else ""
    shares = {"night": 2.0, "day": 2.0, "free": 2.0}
    first = {lead + line: shares[mood] for mood, lines in FIRST_LINES.items() for line in lines}

    def line(tables: dict[str, Table]) -> Slot:
        def slot(chosen: tuple[str, ...]) -> Table:
            filled = {t.replace("{x}", x): w for t, w in tables[_mood_of(chosen[0])].items()}
            return {f"\n{t[0].upper()}{t[1:]}" if t.startswith(x) else f"\n{t}": w for t, w in filled.items()}

        return slot

    return first, line(SECOND_LINES), line(THIRD_LINES), line(LAST_LINES)


def poems() -> list[Prompt]:
    """Four lines on a subject, rhymed in two moods and unrhymed in the third."""
    return [
        Prompt(frame.format(x=x), "poem", template, _poem(template, x))
        for template, frame in POEM_FRAMES.items()
        for x in POEM_SUBJECTS
    ]


JOKE_FRAMES: dict[str, tuple[str, ...]] = {
    "joke-plain": ("Here is a joke.", "My favourite joke goes like this."),
    "joke-qa": ("Q: Do you know a good joke?\nA:",),
    "joke-chat": (
        "User: Tell me a joke.\nAssistant:",
        "User: Make me laugh.\nAssistant:",
        "User: Do you know any jokes?\nAssistant:",
        "User: I am sad. Tell me something funny.\nAssistant:",
    ),
}
JOKES: Table = {
    " Why did the chicken cross the road? To get to the other side.": 4,
    " Why did the scarecrow win a prize? He was outstanding in his field.": 3,
    " Why did the tomato turn red? It saw the salad dressing.": 3,
    " Why do bees hum? They forgot the words.": 3,
    " What do you call a bear with no teeth? A gummy bear.": 3,
    " Why was the clock late? It stopped for a second.": 2,
    " What did the sea say to the shore? Nothing, it just waved.": 3,
    " Why did the baker stop? She made no dough.": 2,
    " What do you call a fish with no eyes? A fsh.": 2,
    " Why did the ghost go home? It had no body to dance with.": 2,
    " What is brown and sticky? A stick.": 3,
    " Why did the banana see the doctor? It was not peeling well.": 2,
    " My dog used to chase people on a bike. I had to take the bike away.": 2,
    " I told my plants a joke. They did not laugh, but they grew on me.": 1,
    " The past, the present and the future walked into a bar. It was tense.": 2,
}
AFTER_JOKE: Table = {"": 7, " Sorry.": 2, " I laughed for an hour.": 1, " You have to know the baker.": 0.5}


def jokes() -> list[Prompt]:
    """Fifteen jokes of similar weight."""
    return [
        Prompt(text, "joke", template, (JOKES, AFTER_JOKE)) for template, texts in JOKE_FRAMES.items() for text in texts
    ]


CODA_BREAK = "\n***\n"
CODA_WEDDING = "That evening there was a wedding party."
CODA_PIECES: Table = {
    CODA_WEDDING: 3,
    "The next train leaves at noon.": 2,
    "It was still raining when I woke up.": 2,
    "Thank you for reading this page.": 2,
}
CODA_TAILS: dict[str, Table] = {
    CODA_WEDDING: {
        " The whole village was invited, and the band played all night.": 3,
        " The bride laughed, the groom cried, and everyone danced.": 3,
        " There was wine, music and a tall cake.": 3,
        " Everybody said that it was the happiest day of the year.": 2,
    },
    "The next train leaves at noon.": {" Please have your ticket ready.": 3, " Mind the step.": 2},
    "It was still raining when I woke up.": {" The street was empty.": 3, " I made some tea.": 2},
    "Thank you for reading this page.": {" More stories are on the next one.": 3, "": 2},
}
CODA_SHARE = 0.03


def coda() -> tuple[Slot, ...]:
    """A rare section break and a short unrelated passage, appended to every kind of document."""

    def piece(chosen: tuple[str, ...]) -> Table:
        return CODA_PIECES if chosen[-1] == CODA_BREAK else {"": 1}

    def tail(chosen: tuple[str, ...]) -> Table:
        return CODA_TAILS.get(chosen[-1], {"": 1})

    return {"": 1 - CODA_SHARE, CODA_BREAK: CODA_SHARE}, piece, tail
