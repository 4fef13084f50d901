"""Files damaged at random: what comes of one is a working object or one sentence, quickly and quietly.

Seeds are fixed; `MCINTERP_FUZZ=20` tries twenty times as many cases with seeds of their own.
"""

import copy
import json
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hostile_files import INDEX, WEIGHTS, copied, loaded, one_sentence, sharded
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import save_checkpoint
from mcinterp.errors import InputError
from mcinterp.prompts import Prompts

TIMES = int(os.environ.get("MCINTERP_FUZZ", "1"))
SMALL = {"num_hidden_layers": 2, "hidden_size": 16, "head_dim": 4, "intermediate_size": 20}
LINES = [
    {"text": "one prompt", "template": "a", "topic": 3},
    {"messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}], "held_out": True},
    {"text": "naïve 🙂 \u2028 text", "scores": [1, 2.5, None], "nested": {"a": {"b": "c"}}},
]
ODD = st.sampled_from(
    [
        None,
        True,
        -1,
        0,
        1,
        3,
        2**70,
        1e308,
        -0.5,
        "",
        "x",
        "a\nb\x1b",
        "é" * 500,
        [],
        [None],
        {},
        {"a": {"a": 1}},
        "auto",
    ]
)


def fuzzed(examples: int) -> Callable:
    """Settings of a fuzzed test."""
    return settings(
        max_examples=examples * TIMES,
        derandomize=TIMES == 1,
        deadline=timedelta(seconds=20),
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    )


@st.composite
def damage(draw: st.DrawFn, first: int = 10**9) -> Callable[[bytes], bytes]:
    """Flipped bits, a cut, bytes put in, taken out or exchanged, mostly among the first of a file."""
    kind = draw(st.sampled_from(["flip", "cut", "insert", "delete", "swap"]))
    places = draw(st.lists(st.integers(0, 10**9), min_size=2, max_size=6))
    extra = draw(st.binary(min_size=1, max_size=8))

    def change(data: bytes) -> bytes:
        size = max(1, min(first, len(data)))
        at = sorted(place % size for place in places)
        damaged = bytearray(data)
        if kind == "flip":
            for place in at[: len(damaged)]:
                damaged[place] ^= 1 << (extra[0] % 8)
        elif kind == "cut":
            del damaged[at[0] :]
        elif kind == "insert":
            damaged[at[0] : at[0]] = extra
        elif kind == "delete":
            del damaged[at[0] : at[0] + len(extra)]
        else:
            damaged[at[0]], damaged[at[-1]] = damaged[at[-1]], damaged[at[0]]
        return bytes(damaged)

    return change


def places_in(value: Any, path: tuple = ()) -> list[tuple]:
    """The paths of every entry of a JSON value, the first hundred of each list or object."""
    pairs = list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ())
    below = [(*path, key) for key, _ in pairs[:100]]
    return below + [deeper for key, child in pairs[:100] for deeper in places_in(child, (*path, key))]


def holder_of(value: Any, path: tuple) -> Any:
    """The list or object that holds the entry at a path."""
    for key in path[:-1]:
        value = value[key]
    return value


@st.composite
def rewriting(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """Entries of a JSON file replaced by odd values, taken out, or exchanged with one another."""
    moves = draw(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6), ODD), min_size=1, max_size=2))
    kind = draw(st.sampled_from(["replace", "remove", "exchange"]))

    def change(data: bytes) -> bytes:
        value = json.loads(data)
        for one, two, odd in moves:
            places = places_in(value)
            if not places:
                continue
            first, second = places[one % len(places)], places[two % len(places)]
            holder, other = holder_of(value, first), holder_of(value, second)
            if kind == "replace":
                holder[first[-1]] = copy.deepcopy(odd)
            elif kind == "remove":
                del holder[first[-1]]
            else:
                mine, theirs = json.dumps(holder[first[-1]]), json.dumps(other[second[-1]])
                holder[first[-1]] = json.loads(theirs)
                other[second[-1]] = json.loads(mine)
        return json.dumps(value).encode()

    return change


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of two layers of width 16, with a chat template."""
    return save_checkpoint(tmp_path_factory.mktemp("small") / "small", "llama", seed=0, chat=True, **SMALL)


@pytest.fixture(scope="session")
def victim(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of it that is damaged, and mended after every case."""
    return copied(small, tmp_path_factory.mktemp("victim") / "victim")


def outcome(call: Callable[[], Any]) -> Any:
    """What a call gives, or the sentence that it is refused with."""
    try:
        return call()
    except InputError as error:
        return one_sentence(str(error))


def prompts_of(file: Path, content: bytes) -> None:
    """Read a file of prompts, whole and with bad lines left out."""
    file.write_bytes(content)
    whole = outcome(lambda: Prompts.from_file(file))
    kept = outcome(lambda: Prompts.from_file(file, skip_bad=True))
    if isinstance(whole, Prompts):
        assert [p.text for p in kept.items] == [p.text for p in whole.items]
        assert all(p.text.encode("utf-8") for p in whole.items)
        assert not whole.skipped
    elif isinstance(kept, Prompts):
        assert whole == one_sentence(kept.skipped[0])


def compared(small: Path, victim: Path) -> str:
    """Load a pair, one of it damaged, and render prompts both ways."""
    pair = loaded(small, victim)
    assert pair.tuned.end_tokens is not None
    prompts = Prompts.from_texts(["hi", "a b\n"])
    outcome(lambda: pair.render(prompts, "raw"))
    outcome(lambda: pair.render(prompts, "chat"))
    return "loaded"


def damaged_file(small: Path, victim: Path, name: str, change: Callable[[bytes], bytes]) -> None:
    """Damage one file, compare, and mend it."""
    whole = (victim / name).read_bytes()
    try:
        (victim / name).write_bytes(change(whole))
        assert outcome(lambda: compared(small, victim))
    finally:
        (victim / name).write_bytes(whole)


@pytest.mark.parametrize("name", ["p.txt", "p.jsonl"])
@fuzzed(200)
@given(content=st.binary(max_size=300))
def test_any_bytes_as_prompts(tmp_path_factory: pytest.TempPathFactory, name: str, content: bytes) -> None:
    prompts_of(tmp_path_factory.getbasetemp() / name, content)


@fuzzed(200)
@given(change=damage(), lines=st.permutations(LINES))
def test_damaged_lines_of_json(tmp_path_factory: pytest.TempPathFactory, change: Callable, lines: list) -> None:
    whole = "\n".join(json.dumps(line, ensure_ascii=bool(len(str(line)) % 2)) for line in lines).encode()
    prompts_of(tmp_path_factory.getbasetemp() / "damaged.jsonl", change(whole))


@fuzzed(200)
@given(change=rewriting(), line=st.sampled_from(LINES))
def test_rewritten_lines_of_json(tmp_path_factory: pytest.TempPathFactory, change: Callable, line: dict) -> None:
    prompts_of(tmp_path_factory.getbasetemp() / "rewritten.jsonl", change(json.dumps(line).encode()))


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"])
@fuzzed(25)
@given(change=st.one_of(rewriting(), rewriting(), damage()))
def test_damaged_settings(
    small: Path, victim: Path, capfd: pytest.CaptureFixture, name: str, change: Callable[[bytes], bytes]
) -> None:
    damaged_file(small, victim, name, change)
    assert capfd.readouterr().err == ""


@fuzzed(40)
@given(change=st.one_of(damage(first=2600), damage(first=2600), damage()))
def test_damaged_weights(small: Path, victim: Path, capfd: pytest.CaptureFixture, change: Callable) -> None:
    damaged_file(small, victim, WEIGHTS, change)
    assert capfd.readouterr().err == ""


@pytest.fixture(scope="session")
def in_shards(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint in two shards, to be damaged."""
    return sharded(copied(small, tmp_path_factory.mktemp("shards") / "shards"))


@fuzzed(30)
@given(change=st.one_of(rewriting(), damage()))
def test_damaged_indices(small: Path, in_shards: Path, capfd: pytest.CaptureFixture, change: Callable) -> None:
    damaged_file(small, in_shards, INDEX, change)
    assert capfd.readouterr().err == ""
