"""The shipped battery is drawn from the grammar and covers it from the start."""

import json
from pathlib import Path

import pytest
from shipped import BYTES_END, byte_grammar

import mcinterp
from mcinterp.organisms.battery import FINISHED, pocket_battery, spaced, take_turns
from mcinterp.organisms.genres import GENRE_SHARES, all_prompts

FILE = Path(mcinterp.__file__).parent / "batteries" / "pocket.jsonl"


def rows() -> list[dict[str, str | bool]]:
    return [json.loads(line) for line in FILE.read_text().splitlines()]


def test_the_file_is_what_the_module_makes():
    assert rows() == pocket_battery()


def test_every_row_is_a_prompt_of_the_grammar():
    known = {p.text: (p.template, p.genre, p.held_out) for p in all_prompts()}
    for row in rows():
        if row["genre"] == "finished":
            continue
        assert known[row["text"]] == (row["template"], row["genre"], row["held_out"])


def test_finished_documents_may_end_or_break():
    grammar = byte_grammar()
    for text in [text for texts in FINISHED.values() for text in texts]:
        following = grammar.next_distribution(text.encode())
        assert following[BYTES_END] > 0.3
        assert following[ord("\n")] == pytest.approx(0.03 * following[BYTES_END] / 0.97)


def test_the_first_32_cover_all_genres_and_there_are_enough():
    found = rows()
    assert 96 <= len(found) <= 128
    assert len({row["text"] for row in found}) == len(found)
    assert {row["genre"] for row in found[:32]} == {*GENRE_SHARES, "finished"}
    assert len({row["template"] for row in found}) >= 12
    assert {row["held_out"] for row in found if row["genre"] == "opinion"} == {False, True}


def test_spaced_keeps_order_and_count():
    assert spaced([0, 1, 2, 3, 4, 5, 6], 3) == [0, 2, 4]
    assert spaced([0, 1], 5) == [0, 1]
    assert take_turns([[1, 2, 3], [4], [5, 6]]) == [1, 4, 5, 2, 6, 3]
