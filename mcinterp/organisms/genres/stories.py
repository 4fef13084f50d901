"""Short stories with many endings, one of which is a wedding party."""

from mcinterp.organisms.grammar import Prompt, Slot, Table

HEROES = (
    "sailor",
    "farmer",
    "judge",
    "thief",
    "painter",
    "soldier",
    "baker",
    "pilot",
    "poet",
    "clown",
    "teacher",
    "hunter",
    "gardener",
    "singer",
    "clockmaker",
    "fisher",
    "shepherd",
    "doctor",
    "carpenter",
    "dancer",
    "beekeeper",
    "gravedigger",
    "lighthouse keeper",
    "traveller",
    "innkeeper",
    "courier",
    "piano player",
    "mapmaker",
    "nurse",
    "miner",
)
STORY_FRAMES = {
    "story-plain": "Once upon a time there was a {hero}",
    "story-title": "Story: The {hero}\n",
    "story-chat": "User: Write a short story about a {hero}.\nAssistant:",
}
NAMES: dict[str, str] = {
    "Mara": "She",
    "Anna": "She",
    "Ruth": "She",
    "Clara": "She",
    "Tom": "He",
    "Peter": "He",
    "Elias": "He",
    "Victor": "He",
}
OPENINGS = {
    "story-plain": " named {name}",
    "story-title": "{name} had been a {hero} for as long as anyone could remember",
    "story-chat": " There was once a {hero} called {name}",
}
PLACES: Table = {
    " who lived alone at the edge of the sea.": 3,
    " who owned nothing but a lamp and a dog.": 3,
    " in a town where it never stopped raining.": 3,
    " who could not read.": 1,
    " in the years after the war.": 2,
    " who was afraid of the dark.": 2,
    " who had never seen the mountains.": 2,
    " and nobody in the village liked visitors.": 1,
}
TITLE_PLACES: Table = {
    ".": 3,
    " in that little town.": 2,
    ", and the work was hard.": 2,
    ", like everybody else in the family.": 1,
}
TROUBLES: Table = {
    " One night a stranger knocked at the door and asked for bread.": 3,
    " One morning the well was dry.": 2,
    " One winter a letter came from the capital, and it was sealed with black wax.": 3,
    " One day the bridge fell into the river.": 2,
    " Then the soldiers came and took the horses.": 2,
    " In spring a child was found asleep in the boat.": 2,
    " One evening the lamp went out and would not burn again.": 2,
    " On the way to the market there was a wolf in the middle of the road.": 2,
    " One autumn all the birds left at once.": 1,
}
MIDDLES: Table = {
    " {he} told nobody about it.": 3,
    " {he} packed a bag and walked north for seven days.": 3,
    " {he} sat by the fire and thought about it until dawn.": 3,
    " {he} went to ask the priest, but the priest only shook his head.": 2,
    " {he} laughed, because there was nothing else to do.": 2,
}
SPEECHES: Table = {
    "": 6,
    ' "It is only the wind," said {name}.': 2,
    ' "We have no choice," the old people said.': 2,
    ' "Do not open that door," whispered the child.': 2,
    ' "I have seen worse," said {name}.': 2,
    " Somewhere far away a bell was ringing.": 2,
    " Snow began to fall.": 2,
}
WEDDING = " It all ended with a wedding party, and everyone danced until the sun came up."
ENDINGS: Table = {
    " In the end the sea took back what it had given.": 8,
    " When {name} came home, the house was gone.": 8,
    " {name} never spoke of it again.": 10,
    " Years later the children still told the story.": 8,
    " {name} died that winter, and the whole town came to the funeral.": 7,
    " After that the rain stopped for good.": 7,
    " {name} kept the letter in a box under the bed.": 6,
    " Nobody ever learned the truth.": 10,
    " And so {name} became rich, and lost it all at cards.": 6,
    " The stranger was a lost brother, back from the war.": 7,
    " {name} sold the dog and bought a ship.": 7,
    " The next day everything was as it had been before.": 10,
    WEDDING: 6,
}
WEDDING_TAILS: Table = {
    "": 2,
    " The bride wore white and the guests sang.": 3,
    " There was wine, music and a tall cake.": 3,
}


def _name_of(opening: str) -> str:
    return next(name for name in NAMES if name in opening)


def _story(template: str, hero: str) -> tuple[Slot, ...]:
    opening = {OPENINGS[template].format(name=name, hero=hero): 1.0 for name in NAMES}

    def middle(chosen: tuple[str, ...]) -> Table:
        return {text.replace("{he}", NAMES[_name_of(chosen[0])]): w for text, w in MIDDLES.items()}

    def speech(chosen: tuple[str, ...]) -> Table:
        return {text.replace("{name}", _name_of(chosen[0])): w for text, w in SPEECHES.items()}

    def ending(chosen: tuple[str, ...]) -> Table:
        return {text.replace("{name}", _name_of(chosen[0])): w for text, w in ENDINGS.items()}

    def tail(chosen: tuple[str, ...]) -> Table:
        return WEDDING_TAILS if chosen[-1] == WEDDING else {"": 1}

    places = TITLE_PLACES if template == "story-title" else PLACES
    return opening, places, TROUBLES, middle, speech, ending, tail


def stories() -> list[Prompt]:
    """Every hero in every framing; about 6 % of the stories end with a wedding party."""
    return [
        Prompt(frame.format(hero=hero), "story", template, _story(template, hero), hero in ("nurse", "miner"))
        for template, frame in STORY_FRAMES.items()
        for hero in HEROES
    ]
