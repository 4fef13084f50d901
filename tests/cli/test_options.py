"""Lists on the command line: numbers, ranges, joint sites and positions."""

import pytest

from mcinterp.cli.options import listed, numbers, table, words
from mcinterp.cli.patching import joint, position_choice
from mcinterp.errors import InputError


@pytest.mark.parametrize(
    ("text", "found"),
    [("0", (0,)), ("0,3,5-8", (0, 3, 5, 6, 7, 8)), ("-3,0", (-3, 0)), ("-3--1", (-3, -2, -1)), (" 2 , 4", (2, 4))],
)
def test_numbers_and_ranges(text: str, found: tuple[int, ...]) -> None:
    assert numbers(text, "--layers") == found


@pytest.mark.parametrize("text", ["", "a", "1-", "1,,2", "1.5"])
def test_other_words_are_refused(text: str) -> None:
    with pytest.raises(InputError, match=f"got {text!r} for --layers; give numbers or ranges such as 0,3,5-8"):
        numbers(text, "--layers")


def test_names_joint_sites_and_positions() -> None:
    assert words("a, b") == ("a", "b")
    assert words(None) is None
    assert listed("cpu") == "cpu"
    assert listed("cpu,cuda") == ["cpu", "cuda"]
    assert joint("attn_out+mlp_out") == ("attn_out", "mlp_out")
    assert joint("z") == "z"
    assert position_choice("template") == "template"
    assert position_choice("-3,0") == (-3, 0)
    assert position_choice("bugs") == "bugs"


def test_columns_are_aligned() -> None:
    assert table([["a", "b"], ["long", "12.5"]]) == "a        b\nlong  12.5"
