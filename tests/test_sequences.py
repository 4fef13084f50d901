"""Positions count from the last prompt token, and completions stay within the context."""

import subprocess
import sys

import numpy as np
import pytest

from mcinterp.chain import Chain
from mcinterp.completions import Decoding
from mcinterp.errors import InputError
from mcinterp.prompts import Prompts
from mcinterp.sequences import teacher_force, with_completions


def test_positions_line_up_where_the_answer_begins(pair: Chain) -> None:
    sequences = with_completions(pair, pair.render(Prompts.from_texts(["abc", "de"])), [(5, 6), (7,)])
    assert sequences.positions.tolist() == [-2, -1, 0, 1, 2]
    assert sequences.relative(0).tolist() == [-2, -1, 0, 1, 2]
    assert sequences.relative(1).tolist() == [-1, 0, 1]
    for name, kept in (("last", [0]), ("prompt", [-1, 0]), ("completion", [0, 1]), ("all", [-1, 0, 1])):
        assert sequences.relative(1)[sequences.wanted(1, name)].tolist() == kept


def test_tokens_and_ids_are_prompt_and_completion(pair: Chain) -> None:
    sequences = with_completions(pair, pair.render(Prompts.from_texts(["abc"])), [(5, 6)])
    tokenizer = pair.tuned.tokenizer
    assert sequences.ids == [(*tokenizer("abc").input_ids, 5, 6)]
    assert "".join(sequences.tokens[0]) == "abc" + tokenizer.decode([5, 6])
    other = with_completions(pair, pair.render(Prompts.from_texts(["abc"])), [(5, 7)])
    assert sequences.hash != other.hash


def test_any_stage_can_write_the_completions(chain: Chain) -> None:
    rendered = chain.render(Prompts.from_texts(["Are bugs real?", "one"]))
    by_tuned, by_base = (teacher_force(chain, rendered, Decoding(6), by=name) for name in (None, "base"))
    assert by_tuned.completions != by_base.completions
    assert by_base.written_by == "base, greedy, at most 6 tokens"
    assert by_tuned.completions == teacher_force(chain, rendered, Decoding(6), by="later").completions
    sampled = teacher_force(chain, rendered, Decoding(6, temperature=1.0, seed=3))
    with pytest.raises(InputError, match="no stage is named 'dpo'; give one of base, tuned, later"):
        teacher_force(chain, rendered, by="dpo")
    assert sampled.written_by == "later, temperature 1.0, seed 3, at most 6 tokens"


def test_completions_beyond_the_context_are_refused(pair: Chain) -> None:
    with pytest.raises(InputError, match="prompt 0 and its completion have 66 tokens and the context holds 64"):
        with_completions(pair, pair.render(Prompts.from_texts(["abc"])), [tuple(np.full(63, 5).tolist())])


def test_texts_are_rendered_by_the_chain(pair: Chain) -> None:
    texts = ["Are bugs real?", "one"]
    given = [teacher_force(pair, prompts, Decoding(3)) for prompts in (texts, Prompts.from_texts(texts))]
    rendered = teacher_force(pair, pair.render(Prompts.from_texts(texts)), Decoding(3))
    assert all(each.ids == rendered.ids for each in given)
    with pytest.raises(InputError, match="one string was given"):
        teacher_force(pair, "Are bugs real?")


def test_prompts_in_the_place_of_sequences_are_refused() -> None:
    """In a process of its own, where annotations are not checked at run time."""
    code = "import mcinterp; mcinterp.logit_lens(mcinterp.load_pair('pocket:base', 'pocket:sft'), ['Are bugs real?'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "InputError: got a list where sequences are wanted; give mcinterp.teacher_force" in done.stderr
