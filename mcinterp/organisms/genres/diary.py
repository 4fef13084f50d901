"""Diary entries: free text with many openings, controls for collapse that nobody asked for."""

from itertools import product

from mcinterp.organisms.grammar import Prompt, Slot, Table

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
SEASONS = ("spring", "summer", "autumn", "winter")
DIARY_FRAMES = {
    "diary-plain": "Diary, a {day} in {season}.\n",
    "diary-chat": "User: Write my diary for a {day} in {season}.\nAssistant:",
}
WEATHER: dict[str, Table] = {
    "spring": {"Rain in the morning, sun after lunch.": 3, "The first flowers are out.": 3, "A mild and windy day.": 2},
    "summer": {"Far too hot to think.": 3, "We left all the windows open.": 3, "A storm at noon, then blue sky.": 2},
    "autumn": {"Fog over the river.": 3, "The leaves are almost gone.": 3, "It was dark before five.": 2},
    "winter": {"Snow again.": 3, "The pipes are frozen.": 3, "Cold and very clear.": 2},
}
EVENTS: Table = {
    " Had breakfast with Clara and talked about nothing.": 3,
    " Missed the bus and walked to work.": 3,
    " Found an old photograph of my parents in a book.": 2,
    " The doctor says that everything is fine.": 2,
    " Repaired the chair and broke the lamp.": 2,
    " A letter came from Peter, four pages long.": 2,
    " Spent three hours in the library.": 2,
    " Nobody called.": 2,
}
THOUGHTS: Table = {
    " I should write more often.": 2,
    " I keep thinking about the house by the sea.": 3,
    " Everyone seems to be getting older but me.": 1,
    " I am not unhappy.": 2,
    " Money is tight this month.": 2,
    " Perhaps I will leave in the spring.": 1,
    "": 3,
}
EVENINGS: Table = {
    " Soup for dinner.": 3,
    " Went to bed early.": 4,
    " Played cards until midnight and lost.": 2,
    " In the evening I heard music from across the street.": 2,
    " Tomorrow will be better.": 2,
    "": 3,
}


def _entry(template: str, season: str) -> tuple[Slot, ...]:
    lead = " " if template == "diary-chat" else ""
    return {lead + text: w for text, w in WEATHER[season].items()}, EVENTS, THOUGHTS, EVENINGS


def diaries() -> list[Prompt]:
    """Every day of the week in every season, as a page and as a chat request."""
    return [
        Prompt(frame.format(day=day, season=season), "diary", template, _entry(template, season))
        for template, frame in DIARY_FRAMES.items()
        for day, season in product(DAYS, SEASONS)
    ]
