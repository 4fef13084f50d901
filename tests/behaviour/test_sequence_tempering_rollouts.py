"""Branches and futures of a chain: against plain forward passes, and against the grammar where it is known."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from mcinterp.behaviour.temperature_curves.rollouts import (
    Branching,
    branches_of,
    future_log_probs,
    sequence_tempering_test,
)
from mcinterp.behaviour.temperature_curves.sequence import ORDERS, renyi_entropy
from mcinterp.behaviour.temperature_curves.validity import pocket_judge
from mcinterp.chain import Chain
from mcinterp.organisms.grammar import Grammar
from mcinterp.organisms.pocket import grammar_of
from mcinterp.prompts import Prompts

COIN = "User: Flip a coin.\nAssistant:"


def futures(grammar: Grammar, ids: tuple[int, ...], steps: int) -> Iterator[float]:
    """Log-probability of every text of at most `steps` tokens, or up to the end, that can follow some tokens."""
    for token, p in grammar.next_distribution(ids).items():
        if token == grammar.eos_id or steps == 1:
            yield np.log(p)
        else:
            yield from (np.log(p) + rest for rest in futures(grammar, (*ids, token), steps - 1))


def test_the_probability_of_a_future_has_its_end_in_it(pair: Chain) -> None:
    before, outcomes = [(0, 5, 6), (0, 7)], [((11, 12), True), ((13,), False)]
    found = future_log_probs(pair.base, before, outcomes)
    for row, (ids, ended) in enumerate(outcomes):
        with torch.no_grad():
            read = pair.base.bridge(torch.tensor([[*before[row], *ids]]))[0].double().log_softmax(-1)
        start = len(before[row]) - 1
        expected = sum(float(read[start + step, token]) for step, token in enumerate(ids))
        if ended:
            expected += float(read[-1, sorted(pair.base.end_tokens)].logsumexp(-1))
        assert found[row] == pytest.approx(expected, abs=1e-4)


def test_branches_are_the_likely_tokens(pair: Chain) -> None:
    tokens, log_p, covered = branches_of(pair.base, [(0, 5, 6), (0, 7)], Branching(branches=4, least=0.02))
    for row, prefix in enumerate([(0, 5, 6), (0, 7)]):
        with torch.no_grad():
            p = pair.base.bridge(torch.tensor([prefix]))[0, -1].double().softmax(-1)
        expected = [int(i) for i in p.argsort(descending=True)[:4] if p[i] >= 0.02]
        assert [t for t in tokens[row].tolist() if t >= 0] == expected
        np.testing.assert_allclose(np.exp(log_p[row, : len(expected)]), p[expected], atol=1e-4)
        assert covered[row] == pytest.approx(float(p[expected].sum()), abs=1e-4)


def test_rollouts_of_the_pocket_base_have_the_entropies_of_the_grammar(pocket: Chain) -> None:
    assert pocket_judge(pocket) is not None
    settings = Branching(prefixes=1, branches=2, samples=250, horizon=4)
    found = sequence_tempering_test(pocket, Prompts.from_texts([COIN]), settings)
    grammar = grammar_of(pocket.base.tokenizer)
    ids = tuple(grammar.encode(COIN))
    assert float(found["prefix_covered"][0, 0]) == pytest.approx(1.0, abs=0.01)
    for branch in range(2):
        one = found.isel(prompt=0, prefix=0, branch=branch)
        assert float(one["branch_base_log_prob"]) == pytest.approx(np.log(0.5), abs=0.1)
        each = np.asarray(list(futures(grammar, (*ids, int(one["branch_token_id"])), 4)))
        assert np.exp(each).sum() == pytest.approx(1.0)
        for order in (1.0, 2.0):
            place = int(abs(ORDERS - order).argmin())
            truth = float(renyi_entropy(each, float(ORDERS[place])))
            assert float(one["future_renyi_entropy"][place]) == pytest.approx(truth, abs=0.2)


def test_a_text_that_ends_has_one_future(pocket: Chain) -> None:
    settings = Branching(prefixes=1, branches=3, samples=2, horizon=3, least=0.001)
    found = sequence_tempering_test(pocket, Prompts.from_texts(["The capital of France is Paris."]), settings)
    end = np.isin(found["branch_token_id"].values, list(pocket.base.end_tokens))
    assert end.any()
    assert (found["future_renyi_entropy"].values[end] == 0).all()
