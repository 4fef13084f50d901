"""Position sets: which tokens they name, and that exactly those are patched."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from patching_reference import (
    BARE,
    activations,
    assert_equals_reference,
    assert_reads,
    encoded,
    ends_at,
    patched,
    tiny_pair,
)

import mcinterp
from conftest import Build
from mcinterp.chain import Chain
from mcinterp.errors import InputError
from mcinterp.intervene.places import PositionChoice, chosen_positions
from mcinterp.prompts import Prompt, Prompts
from mcinterp.sequences import Sequences, with_completions

TEXTS = ["Are bugs real?", "Pick bugs", "bugs, bugs!"]
SITES = ("resid_pre", "attn_out", "k", "pattern")


def sequences_of(
    chain: Chain, texts: Sequence[str], rendering: str = "raw", completion: tuple[int, ...] = ()
) -> Sequences:
    """Prompts with one completion behind each."""
    rendered = chain.render(Prompts.from_texts(texts), rendering)
    return with_completions(chain, rendered, [completion] * len(rendered))


@pytest.mark.parametrize(
    ("positions", "columns"),
    [
        ("last", [-1]),
        (-2, [-3]),
        ([-5, 0, -1], [-6, -2, -1]),
        (range(-3, 0), [-4, -3, -2]),
        (slice(-4, -1), [-5, -4, -3]),
        (slice(-4, None, 2), [-5, -3, -1]),
        (slice(None), None),
        ("all", None),
    ],
)
@pytest.mark.parametrize("architecture", ["llama", "gemma2"])
def test_sets_of_positions_are_patched_together(
    tiny: Build, architecture: str, positions: PositionChoice, columns: list[int] | None
) -> None:
    pair = tiny_pair(tiny, architecture)
    result = mcinterp.patch(pair, TEXTS[:2], sites=SITES, layers=[1], positions=positions, engine="fast", **BARE)
    assert_equals_reference(pair, result, TEXTS[:2], lambda ids: [c % len(ids) for c in columns or range(-len(ids), 0)])


def test_a_text_stands_for_its_last_occurrence(pair: Chain) -> None:
    sequences = sequences_of(pair, TEXTS)
    found = [chosen_positions(sequences, i, "bugs") for i in range(3)]
    assert found == [(-9, -8, -7, -6), (-3, -2, -1, 0), (-4, -3, -2, -1)]
    result = mcinterp.patch(pair, TEXTS, sites=["resid_post"], layers=[0], positions="bugs", **BARE)
    starts = {len(text): text.rfind("bugs") for text in TEXTS}
    assert_equals_reference(pair, result, TEXTS, lambda ids: range(starts[len(ids)], starts[len(ids)] + 4))


def test_template_and_content_divide_a_chat_prompt(pair: Chain) -> None:
    sequences = sequences_of(pair, ["hi you", "  one  ", "a"], "chat", (5, 6))
    for index, text in enumerate(["hi you", "  one  ", "a"]):
        tokens = dict(zip(sequences.relative(index).tolist(), sequences.tokens[index], strict=True))
        template, content = (chosen_positions(sequences, index, name) for name in ("template", "content"))
        assert "".join(tokens[p] for p in content) == text
        assert sorted((*template, *content)) == [p for p in tokens if p <= 0]
    result = mcinterp.patch(
        pair, sequences.prompts, sites=SITES, layers=[0, 1], positions="content", engine="fast", **BARE
    )
    ids = sequences.prompts.token_ids[0]
    columns = [p + len(ids) - 1 for p in chosen_positions(sequences, 0, "content")]
    given = activations(pair.base, ids)
    cell = result.isel(prompt=0).sel(direction="base_to_tuned")
    for site in SITES:
        q = patched(pair.tuned, ids, given, [site], [1], columns)[-1]
        assert_reads(cell.sel(site=site, layer=1), q, ends_at(pair, "base_to_tuned", ids))


def test_content_is_every_message_of_a_conversation(pair: Chain) -> None:
    messages = [{"role": role, "content": text} for role, text in (("user", "user"), ("assistant", "t"), ("user", ":"))]
    prompts = Prompts((Prompt("talk", messages=tuple(messages)),))
    sequences = with_completions(pair, pair.render(prompts, "chat"), [()])
    tokens = dict(zip(sequences.relative(0).tolist(), sequences.tokens[0], strict=True))
    assert "".join(tokens.values()) == "user: user\nassistant: t\nuser: :\nassistant:"
    assert "".join(tokens[p] for p in chosen_positions(sequences, 0, "content")) == "usert:"
    changed = replace(sequences, prompts=replace(sequences.prompts, frames=(("User: ", "\nassistant:"),)))
    with pytest.raises(InputError, match="the text that the chat template puts around prompt 0 is not found"):
        chosen_positions(changed, 0, "template")


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gpt_neox"])
def test_each_position_is_a_cell_of_its_own_and_missing_where_a_prompt_is_too_short(
    tiny: Build, architecture: str
) -> None:
    pair, texts = tiny_pair(tiny, architecture), ["abc", "Are bugs real"]
    result = mcinterp.patch(pair, texts, sites=SITES, layers=[0, 2], positions="each", engine="fast", **BARE)
    assert result["position"].values.tolist() == list(range(-12, 1))
    for index, text in enumerate(texts):
        ids = encoded(pair, text)
        given, ends = activations(pair.tuned, ids), ends_at(pair, "tuned_to_base", ids)
        for position in result["position"].values.tolist():
            for site in SITES:
                cell = result.isel(prompt=index).sel(direction="tuned_to_base", site=site, layer=2, position=position)
                if position <= -len(ids):
                    assert np.isnan(cell["entropy"])
                    assert int(cell["top_token"]) == -1
                else:
                    q = patched(pair.base, ids, given, [site], [2], [position + len(ids) - 1])[-1]
                    assert_reads(cell, q, ends)


def test_each_position_of_a_set_is_the_same_cell_as_alone(pair: Chain) -> None:
    options = {"sites": SITES, "layers": [1], **BARE}
    together = mcinterp.patch(pair, TEXTS, positions=slice(-3, 1), each_position=True, **options)
    for position in (-3, 0):
        alone = mcinterp.patch(pair, TEXTS, positions=position, **options)
        np.testing.assert_allclose(together["entropy"].sel(position=position), alone["entropy"], atol=1e-5)


@pytest.mark.parametrize(
    ("positions", "message"),
    [
        (-9, "position -9 was asked for and prompt 1 .'Pick bugs'. has positions -8 to 0"),
        (1, "position 1 was asked for and prompt 0"),
        (slice(-20, 0), "position -20 was asked for and prompt 0"),
        ("birds", "position 'birds' is none of last, each, all, template, content and does not stand in prompt 0"),
        ("", "does not stand in prompt 0"),
        ("content", "template positions were asked for and prompt 0 is rendered raw"),
        ([], "no position"),
        (slice(0, 0), "no position"),
    ],
)
def test_positions_that_are_not_there_are_refused(pair: Chain, positions: PositionChoice, message: str) -> None:
    with pytest.raises(InputError, match=message):
        mcinterp.patch(pair, TEXTS, positions=positions)
