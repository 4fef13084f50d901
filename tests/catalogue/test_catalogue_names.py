"""`catalogue:NAME` and `catalogue:NAME/STAGE` wherever checkpoints are named, and the command that lists them."""

import re
import shlex
from pathlib import Path

import pytest

from mcinterp.catalogue import Entry, entries, entry, expanded, left_out, published
from mcinterp.chain import load_chain
from mcinterp.checkpoints import parse_chain, parse_checkpoint
from mcinterp.cli import main, parser
from mcinterp.cli.cataloguing import fitting, markdown, needed, recipes, with_stages
from mcinterp.cli.options import out_of
from mcinterp.errors import InputError

OLMO = ["base", "sft", "dpo", "instruct"]
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "catalogue.md"


def test_a_whole_entry_stands_for_its_base_and_all_stages() -> None:
    chain = parse_chain(["catalogue:olmo2-1b"])
    assert [c.name for c in chain] == OLMO
    assert [c.location for c in chain] == [stage.hub for stage in entry("olmo2-1b").stages]
    assert [c.spec for c in chain] == [f"catalogue:olmo2-1b/{name}" for name in OLMO]
    assert all(c.revision is None and c.entry == "olmo2-1b" for c in chain)


def test_one_stage_is_one_checkpoint_and_can_be_named() -> None:
    chain = parse_chain(["catalogue:olmo2-1b/base", "mine=catalogue:olmo2-1b/dpo", "org/other"])
    assert [(c.name, c.location) for c in chain] == [
        ("base", "allenai/OLMo-2-0425-1B"), ("mine", "allenai/OLMo-2-0425-1B-DPO"), ("other", "org/other")
    ]  # fmt: skip
    assert [c.name for c in parse_chain(["catalogue:smollm2-135m", "org/mine"])] == ["base", "instruct", "mine"]
    assert [c.name for c in parse_chain(["catalogue:smollm2-135m"], ["a", "b"])] == ["a", "b"]


def test_two_entries_side_by_side_number_their_stages() -> None:
    names = [
        c.name for c in parse_chain(["catalogue:zephyr-7b/base", "catalogue:zephyr-7b/dpo", "catalogue:tulu3-8b/dpo"])
    ]
    assert names == ["base", "dpo", "dpo-2"]


@pytest.mark.parametrize(
    ("specs", "said"),
    [
        (["catalogue:olmo2-2b"], r"catalogue has no entry 'olmo2-2b'; near it are .*olmo2-1b.*; `mcinterp catalogue`"),
        (["catalogue:xyz123"], r"no entry 'xyz123'; `mcinterp catalogue` lists all entries"),
        (["catalogue:gemma3-4b"], r"'gemma3-4b' was left out: google/gemma-3-4b-pt and -it hold an image encoder"),
        (["catalogue:olmo2-1b/rl", "a/b"], r"'catalogue:olmo2-1b/rl' names no stage 'rl' of it; give one of"),
        (["mine=catalogue:olmo2-1b", "a/b"], r"'catalogue:olmo2-1b' is a whole chain where one checkpoint is wanted"),
    ],
)  # fmt: skip
def test_what_the_catalogue_does_not_hold_is_refused(specs: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        parse_chain(specs)


def test_a_single_stage_is_no_chain() -> None:
    with pytest.raises(InputError, match="at least two checkpoints, base first; got 1"):
        parse_chain(["catalogue:olmo2-1b/base"])
    with pytest.raises(InputError, match="at least two checkpoints, base first; got 1"):
        load_chain("pocket:base")
    with pytest.raises(InputError, match="got 1 stage names for 4 checkpoints"):
        load_chain({"mine": "catalogue:olmo2-1b"})


def test_traps_stand_in_the_provenance() -> None:
    record = parse_checkpoint("catalogue:llama3.2-1b/instruct").provenance()
    assert record["catalogue"] == "llama3.2-1b"
    assert record["notes"] == list(entry("llama3.2-1b").notes)
    assert record["notes"][0].startswith("gated: accept Meta's licence")
    assert any(note.startswith("date: the template writes today's date") for note in record["notes"])
    assert "catalogue" not in parse_checkpoint("pocket:base").provenance()


def test_every_stage_of_every_entry_can_be_asked_for() -> None:
    for each in entries():
        for stage in each.stages:
            assert published(f"catalogue:{each.name}/{stage.name}") == (each, stage)
        assert expanded([f"catalogue:{each.name}"]) == [f"catalogue:{each.name}/{stage.name}" for stage in each.stages]


def test_the_command_line_takes_one_entry_for_all_checkpoints() -> None:
    options = parser().parse_args(with_stages(["compare", "catalogue:olmo2-1b", "--only", "lens"]))
    assert [options.base, options.tuned, *options.stages] == [f"catalogue:olmo2-1b/{name}" for name in OLMO]
    assert out_of(options) == "runs/olmo2-1b-base-instruct"
    options = parser().parse_args(with_stages(["uncollapse", "catalogue:olmo2-1b", "--sites", "unembed", "--out", "x"]))
    assert (options.base, options.tuned) == ("catalogue:olmo2-1b/base", "catalogue:olmo2-1b/instruct")
    options = parser().parse_args(with_stages(["compare", "catalogue:olmo2-1b/base", "org/other"]))
    assert out_of(options) == "runs/base-other"


@pytest.mark.parametrize("verb", ["compare", "patch", "attribute", "locate", "behave"])
def test_every_verb_of_checkpoints_names_near_entries(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "catalogue:smollm-135m"]) == 2
    said = capsys.readouterr().err
    assert "near it are smollm2-135m" in said
    assert said.count("\n") == 1


def test_the_list_has_every_entry_once_with_its_memory(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["catalogue"]) == 0
    lines = capsys.readouterr().out.splitlines()
    listed = {line.split()[0]: line for line in lines[1 : 1 + len(entries())]}
    assert list(listed) == [each.name for each in entries()]
    # 2 bytes * (2 * 8 030 261 248) parameters and 1.5 GB of working memory
    assert re.search(r"base, instruct +8\.03B +33\.6 +7\.4 +yes", listed["llama3.1-8b"])
    assert all(name in lines[-1] for name in left_out())


def test_one_entry_is_described_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["catalogue", "catalogue:tulu3-8b"]) == 0
    said = capsys.readouterr().out
    found = entry("tulu3-8b")
    for expected in (
        *(s.hub for s in found.stages),
        *(t.says for t in found.traps),
        *found.sources,
        *found.unconfirmed,
    ):
        assert expected in said
    assert "8,030,261,248 by shape" in said
    assert "vocabulary rows 128256 and 128264" in said
    assert f"bfloat16: together {needed(found, 'together', 'bfloat16'):.1f} GB" in said
    assert main(["catalogue", "tulu3"]) == 2
    assert "near it are tulu3-8b" in capsys.readouterr().err


@pytest.mark.parametrize("each", entries(), ids=lambda each: each.name)
def test_recipes_are_commands_that_the_parser_takes(each: Entry) -> None:
    whole = expanded([f"catalogue:{each.name}"])
    for line in recipes(each):
        words = shlex.split(line.split(": ", 1)[1])
        options = parser().parse_args(with_stages(words[1:]))
        named = [options.base, options.tuned, *options.stages]
        assert named == whole or (each.name == "tulu3-70b" and named == [whole[0], whole[-1]])
        assert options.template == ("raw" if each.family == "pythia" or each.name == "olmo3-7b-rlzero" else "both")
        assert options.allow_pickle == (each.family == "pythia")


def test_recipes_hold_weights_in_the_first_way_that_fits() -> None:
    assert fitting(entry("llama3.1-8b"), 80) == "together"
    assert fitting(entry("llama3.1-8b"), 24) == "one"
    assert fitting(entry("tulu3-8b"), 24) == "stream"
    large = entry("tulu3-70b")
    assert fitting(large, 24) is None
    assert fitting(large, 24, (large.stages[0], large.stages[-1])) == "stream"
    assert all(fitting(each, 24, (each.stages[0], each.stages[-1])) for each in entries())


def test_the_page_holds_the_list_as_it_is() -> None:
    assert markdown() in PAGE.read_text(encoding="utf-8"), "write it anew: mcinterp catalogue --markdown"
