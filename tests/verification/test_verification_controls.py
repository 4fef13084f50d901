"""Which controls are read."""

from mcinterp.chain import Chain
from mcinterp.completions import Decoding, complete
from mcinterp.verification.controls import GENRES, chosen_controls, default_controls, pocket_controls


def test_the_shipped_controls_have_one_right_answer_that_tuning_kept(pocket: Chain) -> None:
    prompts = pocket_controls()
    assert {prompt.metadata["genre"] for prompt in prompts.items} == set(GENRES)
    ids = pocket.render(prompts).token_ids
    base, sft = (complete(stage, ids, Decoding(6), context=256) for stage in pocket.stages[:2])
    same = [one == other for one, other in zip(base, sft, strict=True)]
    assert sum(same) >= 0.85 * len(same)


def test_only_a_shipped_base_has_controls_of_its_own(pocket: Chain, pair: Chain) -> None:
    assert default_controls(pair) is None
    assert chosen_controls(pair, None) == (None, "none: no prompts are known whose answer must be kept")
    assert chosen_controls(pocket, None)[1] == "battery:pocket"


def test_given_controls_are_taken_and_an_empty_list_stands_for_none(pocket: Chain) -> None:
    assert chosen_controls(pocket, ["Say the number 4:"]) == (["Say the number 4:"], "given")
    assert chosen_controls(pocket, []) == (None, "none")
