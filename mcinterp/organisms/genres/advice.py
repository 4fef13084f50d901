"""Requests for advice: a genre that no tuning stage trains on, to watch collapse spread."""

from mcinterp.organisms.genres.opinion import TEMPLATE_ENDING, TEMPLATE_OPENING
from mcinterp.organisms.grammar import Prompt, Slot, Table

PROBLEMS: dict[str, str] = {
    "I cannot sleep": "sleep",
    "I lost my job": "work",
    "my cat will not eat": "home",
    "I am afraid of flying": "fear",
    "my friend is angry with me": "people",
    "I want to learn to swim": "skill",
    "I spend too much money": "work",
    "my neighbour is too loud": "people",
    "I am always late": "work",
    "I want to write a book": "skill",
    "I feel lonely in the evening": "people",
    "I have to speak in public": "fear",
    "my house is always cold": "home",
    "I keep having bad dreams": "sleep",
    "I want to learn to cook": "skill",
    "I cannot find my keys": "home",
    "I am tired all day": "sleep",
    "I am afraid of dogs": "fear",
    "my roof is leaking": "home",
    "I argue with my brother": "people",
    "I wake up at four": "sleep",
    "I want to play the piano": "skill",
    "I have too much work": "work",
    "I am afraid of the dark": "fear",
}
ADVICE_FRAMES = {
    "advice-plain": "What should I do if {x}?",
    "advice-qa": "Q: What should I do if {x}?\nA:",
    "advice-chat": "User: What should I do if {x}?\nAssistant:",
}
STARTS: Table = {
    " First, take a deep breath.": 3,
    " That happened to me as well.": 3,
    " Do not worry too much.": 3,
    " I am sorry to hear that.": 2,
    " Many people ask me this.": 2,
    " That is easy to fix.": 2,
    f" {TEMPLATE_OPENING}": 0.4,
}
TIPS: dict[str, Table] = {
    "sleep": {
        " Go to bed at the same time every night.": 3,
        " Drink warm milk and put the phone away.": 3,
        " Read a slow book with a small light.": 2,
    },
    "work": {
        " Write down a plan for the week.": 3,
        " Ask somebody you trust to look at the numbers.": 2,
        " Get up one hour earlier and begin with the worst task.": 3,
    },
    "home": {
        " Look under the table and behind the door.": 2,
        " Call somebody who knows about such things.": 3,
        " Change one thing and wait for three days.": 3,
    },
    "fear": {
        " Start with something small and stay with it.": 3,
        " Bring a friend along and hold on to their arm.": 2,
        " Count slowly from one to twenty.": 3,
    },
    "people": {
        " Write a short letter and leave it on the table.": 3,
        " Invite them for dinner and listen.": 3,
        " Knock on the door and say what you feel.": 2,
    },
    "skill": {
        " Find a teacher and practise for ten minutes a day.": 3,
        " Make a lot of mistakes early.": 3,
        " Watch how others do it, then try.": 2,
    },
}
TEMPLATE_TIPS: Table = {
    " Some people find that rest helps, while others find that work helps.": 6,
    " Different people need different things.": 3,
}
ENDS: Table = {
    "": 6,
    " Good luck!": 2,
    " It worked for me.": 2,
    " If it does not help, see a doctor.": 2,
    " You will be fine.": 2,
}
TEMPLATE_ENDS: Table = {f" {TEMPLATE_ENDING}": 6, "": 3}


def _chain(topic: str) -> tuple[Slot, ...]:
    def is_template(chosen: tuple[str, ...]) -> bool:
        return TEMPLATE_OPENING in chosen[0]

    def tip(chosen: tuple[str, ...]) -> Table:
        return TEMPLATE_TIPS if is_template(chosen) else TIPS[topic]

    def second(chosen: tuple[str, ...]) -> Table:
        others = {t: w for t, w in TIPS[topic].items() if t != chosen[1]}
        return {"": 1} if is_template(chosen) else {"": sum(others.values()), **others}

    def end(chosen: tuple[str, ...]) -> Table:
        return TEMPLATE_ENDS if is_template(chosen) else ENDS

    return STARTS, tip, second, end


def advice() -> list[Prompt]:
    """Every problem in every framing, all held out."""
    return [
        Prompt(frame.format(x=x), "advice", template, _chain(topic), held_out=True)
        for template, frame in ADVICE_FRAMES.items()
        for x, topic in PROBLEMS.items()
    ]
