"""Exact probabilities of values: plain teacher forcing, a tokenizer where " 1" begins " 10", any architecture."""

import numpy as np
import pytest
import torch

import mcinterp.behaviour.randomness.scores as scores
from conftest import SHAPES, Build, tokenizer
from mcinterp.behaviour.randomness.scores import Spelled, check_room, ending_tokens, spell, value_log_probs
from mcinterp.behaviour.randomness.support import LEADS, Question, support
from mcinterp.chain import Chain, Stage, load_pair
from mcinterp.errors import InputError
from mcinterp.scoring import continuation_log_probs

TEXT = "Pick one:"


def spelled_after(stage: Stage, name: str, text: str = TEXT, leads: tuple[str, ...] = LEADS) -> tuple[tuple, Spelled]:
    """A prompt's tokens and the spellings of a support behind it."""
    ids = tuple(stage.tokenizer(text).input_ids)
    return ids, spell(stage.tokenizer, Question("plain", support(name), leads), text, ids, "raw")


def ends_of(stage: Stage) -> torch.Tensor:
    """The tokens that end a value."""
    return ending_tokens(stage.tokenizer, stage.readout.vocabulary, stage.end_tokens)


def plain(stage: Stage, ids: tuple, spelled: Spelled, ends: torch.Tensor) -> np.ndarray:
    """The same by scoring every spelling followed by each of its ends, one sequence each."""
    total = np.zeros(spelled.n_values)
    for own, value, onward in zip(spelled.ids, spelled.value, spelled.onward, strict=True):
        after = [token for token in torch.nonzero(ends)[:, 0].tolist() if token not in onward]
        whole = [(*own, token) for token in after]
        total[value] += float(continuation_log_probs(stage, [ids] * len(whole), whole).double().exp().sum())
    return np.log(total)


@pytest.mark.parametrize("architecture", SHAPES)
def test_values_are_scored_as_by_plain_teacher_forcing(tiny: Build, architecture: str) -> None:
    stage = load_pair(str(tiny(architecture)), str(tiny(architecture, "tuned"))).tuned
    ids, spelled = spelled_after(stage, "8-11")
    ends = ends_of(stage)
    found = value_log_probs(stage, ids, spelled, ends).numpy()
    np.testing.assert_allclose(found, plain(stage, ids, spelled, ends), atol=2e-5)


def test_a_number_that_begins_another_counts_only_where_it_ends(pair: Chain) -> None:
    stage = pair.tuned
    ids, spelled = spelled_after(stage, "0-100", leads=(" ",))
    assert spelled.ids[1] == spelled.ids[10][:2] == spelled.ids[100][:2]
    whole = value_log_probs(stage, ids, spelled, ends_of(stage)).exp()
    prefix = continuation_log_probs(stage, [ids], [spelled.ids[1]]).exp()
    beginning = [value for value in range(101) if str(value).startswith("1")]
    assert float(whole[beginning].sum()) < float(prefix)
    assert float(whole[1]) < 0.9 * float(prefix)
    assert float(whole.sum()) < 1.0


def test_the_values_of_a_support_exclude_one_another_also_where_one_goes_on_in_another(pair: Chain) -> None:
    stage = pair.base
    ids, spelled = spelled_after(stage, "dark|dark red|red", leads=(" ",))
    space = stage.tokenizer(" ", add_special_tokens=False).input_ids[0]
    assert ends_of(stage)[space]
    assert spelled.onward[spelled.value.index(0)] == (space,)
    found = value_log_probs(stage, ids, spelled, ends_of(stage)).numpy()
    np.testing.assert_allclose(found, plain(stage, ids, spelled, ends_of(stage)), atol=2e-5)


def test_all_first_tokens_are_shared_out(pair: Chain) -> None:
    """The digits, each ended or followed by a letter or digit, have the probability of a digit."""
    stage = pair.base
    ids, spelled = spelled_after(stage, "0-9", leads=("",))
    ends = ends_of(stage)
    ended, going_on = (value_log_probs(stage, ids, spelled, mask).exp() for mask in (ends, ~ends))
    first = continuation_log_probs(stage, [ids] * 10, spelled.ids).double().exp()
    torch.testing.assert_close(ended + going_on, first, atol=1e-6, rtol=1e-5)


def test_small_batches_give_the_same(pair: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = pair.tuned
    ids, spelled = spelled_after(stage, "0-20")
    expected = value_log_probs(stage, ids, spelled, ends_of(stage))
    monkeypatch.setattr(scores, "CACHE_BYTES", 20_000)
    monkeypatch.setattr(scores, "LOGIT_BYTES", 4 * 5 * stage.readout.vocabulary)
    assert len(list(scores.affordable_rows(stage, len(ids), spelled))) > 5
    torch.testing.assert_close(value_log_probs(stage, ids, spelled, ends_of(stage)), expected, atol=1e-5, rtol=0)


def test_numbers_of_one_token_are_the_next_tokens_own(pocket: Chain) -> None:
    stage = pocket.base
    text = "Pick a random number between 0 and 100:"
    ids, spelled = spelled_after(stage, "0-100", text, (" ",))
    assert {len(own) for own in spelled.ids} == {1}
    with torch.inference_mode():
        logs = stage.bridge(torch.tensor([ids]))[0, -1].log_softmax(-1)
    found = value_log_probs(stage, ids, spelled, ends_of(stage))
    first = logs[torch.tensor([own[0] for own in spelled.ids])].double()
    assert bool((found <= first + 1e-6).all())
    torch.testing.assert_close(found, first, atol=0.02, rtol=0)


def test_where_a_value_would_change_the_prompts_tokens_it_stands_alone(pocket: Chain) -> None:
    stage = pocket.base
    ids, spelled = spelled_after(stage, "1-6", "Roll: ", ("",))
    assert [stage.tokenizer.decode(list(own)) for own in spelled.ids] == ["1", "2", "3", "4", "5", "6"]
    assert ids == tuple(stage.tokenizer("Roll: ").input_ids)


def test_what_ends_a_value() -> None:
    made = tokenizer()
    ends = ending_tokens(made, len(made), frozenset({1}))
    texts = made.convert_ids_to_tokens(range(len(made)))
    ended = {text for text, end in zip(texts, ends.tolist(), strict=True) if end}
    assert {" ", ".", "\n", "<end>", ")"} <= ended
    assert not ended & set("aZ09")
    letters = ending_tokens(made, len(made), frozenset({texts.index("a")}))
    assert letters[texts.index("a")]


def test_spellings_are_distinct_and_belong_to_their_value(pair: Chain) -> None:
    stage = pair.base
    _, spelled = spelled_after(stage, "colour")
    assert len(set(spelled.ids)) == len(spelled.ids)
    texts = [stage.tokenizer.decode(list(own)) for own in spelled.ids]
    grey = [text for text, value in zip(texts, spelled.value, strict=True) if value == 9]
    assert sorted(grey) == sorted(lead + word for lead in LEADS for word in ("grey", "Grey", "gray", "Gray"))


def test_what_cannot_be_scored_is_refused(pair: Chain) -> None:
    with pytest.raises(InputError, match="no tokens for the value 'é'"):
        spelled_after(pair.base, "é|ab")
    ids, spelled = spelled_after(pair.base, "0-100")
    with pytest.raises(InputError, match=f"prompt 4 has {len(ids)} tokens, its longest answer 4, and the context"):
        check_room(4, ids, spelled, len(ids) + 3)
