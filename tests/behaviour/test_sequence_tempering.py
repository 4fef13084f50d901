"""The test of whole texts on a small grammar whose futures are known: it tells tempered texts from tempered tokens."""

import random

import numpy as np
import pytest

from mcinterp.behaviour.temperature_curves.sequence import (
    ORDERS,
    fit,
    normalised,
    product_sums,
    renyi_entropy,
    sampled_renyi_entropy,
    sequence_tempered,
    token_tempered,
)
from mcinterp.organisms.grammar import Grammar, Prompt

END = 0
WIDE = dict(zip("abcdefgh", (5, 3, 2, 2, 1, 1, 1, 1), strict=True))
SECOND = {"a": {"x": 1}, "b": WIDE, "c": {"x": 3, "y": 1}, "d": {"x": 1, "y": 1, "z": 1}}


def answer(first: dict[str, float]) -> tuple:
    """A letter, one that depends on it, and after b a wide one once more."""
    return first, lambda chosen: SECOND[chosen[0]], lambda chosen: WIDE if chosen[0] == "b" else {"": 1}


@pytest.fixture(scope="module")
def grammar() -> Grammar:
    tables = {
        "1": {"a": 1, "b": 4, "c": 2, "d": 3},
        "2": {"a": 3, "b": 3, "c": 3, "d": 1},
        "3": {"a": 2, "c": 5, "d": 1},
    }
    prompts = {Prompt(text, "tree", text, answer(table)): 1.0 for text, table in tables.items()}
    return Grammar(prompts, lambda text: [ord(letter) for letter in text], END)


def futures(grammar: Grammar, ids: tuple[int, ...]) -> list[float]:
    """Log-probability of every text that can follow some tokens, the end included."""
    if ids and ids[-1] == END:
        return [0.0]
    return [
        np.log(p) + rest
        for token, p in grammar.next_distribution(ids).items()
        for rest in futures(grammar, (*ids, token))
    ]


def branches(grammar: Grammar) -> tuple[np.ndarray, np.ndarray]:
    """log p of every branch of some prefixes, and the exact H of its futures at every order; missing beyond."""
    log_p = np.full((6, 4), np.nan)
    future = np.full((6, 4, len(ORDERS)), np.nan)
    prefixes = [(ord(c),) for c in "123"] + [(ord(c), ord("d")) for c in "123"]
    for row, prefix in enumerate(prefixes):
        for column, (token, p) in enumerate(grammar.next_distribution(prefix).items()):
            log_p[row, column] = np.log(p)
            each = np.asarray(futures(grammar, (*prefix, token)))
            future[row, column] = [renyi_entropy(each, order) for order in ORDERS]
    return log_p, future


def exact_sequence_tempering(grammar: Grammar, order: float) -> np.ndarray:
    """log q of every branch where texts are tempered, from the sums of p^order over whole texts behind it."""
    log_q = np.full((6, 4), np.nan)
    prefixes = [(ord(c),) for c in "123"] + [(ord(c), ord("d")) for c in "123"]
    for row, prefix in enumerate(prefixes):
        for column, (token, p) in enumerate(grammar.next_distribution(prefix).items()):
            each = np.log(p) + np.asarray(futures(grammar, (*prefix, token)))
            log_q[row, column] = np.log(np.exp(order * each).sum())
        log_q[row] -= np.log(np.nansum(np.exp(log_q[row])))
    return log_q


def rows(function, log_p: np.ndarray, *others: object) -> np.ndarray:
    """A function of the branches that are there, row by row."""
    found = np.full(log_p.shape, np.nan)
    for row, values in enumerate(log_p):
        there = ~np.isnan(values)
        found[row, there] = function(
            values[there], *(o[row, there] if isinstance(o, np.ndarray) else o for o in others)
        )
    return found


@pytest.mark.parametrize("order", [0.5, 1.7, 3.0])
def test_tempered_texts_have_the_marginal_that_the_docstring_gives(grammar: Grammar, order: float) -> None:
    log_p, _ = branches(grammar)
    exact = exact_sequence_tempering(grammar, order)
    future = np.full(log_p.shape, np.nan)
    for row, prefix in enumerate([(ord(c),) for c in "123"] + [(ord(c), ord("d")) for c in "123"]):
        for column, token in enumerate(grammar.next_distribution(prefix)):
            future[row, column] = renyi_entropy(np.asarray(futures(grammar, (*prefix, token))), order)
    np.testing.assert_allclose(rows(sequence_tempered, log_p, future, order), exact, atol=1e-9)


@pytest.mark.parametrize("order", [0.5, 1.7, 3.0])
def test_exact_sequence_tempering_gives_the_predicted_slope(grammar: Grammar, order: float) -> None:
    log_p, future = branches(grammar)
    found = fit(product_sums(exact_sequence_tempering(grammar, order), log_p, future).sum(axis=0))
    assert found.consistent
    assert found.order == pytest.approx(order, rel=1e-2)
    assert found.slope_log_prob == pytest.approx(order, rel=1e-2)
    assert found.slope_future == pytest.approx(1 - order, abs=0.02)
    assert found.beyond_prediction == pytest.approx(0.0, abs=0.02)
    assert found.r2 == pytest.approx(1.0, abs=1e-3)
    assert found.r2_without_future < 0.95


@pytest.mark.parametrize("beta", [0.5, 1.7, 3.0])
def test_tempered_tokens_fail_it(grammar: Grammar, beta: float) -> None:
    log_p, future = branches(grammar)
    found = fit(product_sums(rows(token_tempered, log_p, beta), log_p, future).sum(axis=0))
    assert found.slope_log_prob == pytest.approx(beta, rel=1e-6)
    assert found.slope_future == pytest.approx(0.0, abs=1e-6)
    assert found.beyond_prediction == pytest.approx(beta - 1.0, abs=1e-6)
    assert found.r2_without_future == pytest.approx(1.0)


def test_futures_sampled_from_the_grammar_tell_the_same(grammar: Grammar) -> None:
    log_p, future = branches(grammar)
    sampled = np.full(future.shape, np.nan)
    rng = random.Random(0)
    for row, prefix in enumerate([(ord(c),) for c in "123"] + [(ord(c), ord("d")) for c in "123"]):
        for column, token in enumerate(grammar.next_distribution(prefix)):
            each = np.asarray(futures(grammar, (*prefix, token)))
            seen = sorted(set(rng.choices(range(len(each)), np.exp(each).tolist(), k=60)))
            sampled[row, column] = [sampled_renyi_entropy(each[seen], 60, order) for order in ORDERS]
    tempered = fit(product_sums(exact_sequence_tempering(grammar, 2.0), log_p, sampled).sum(axis=0))
    assert tempered.beyond_prediction == pytest.approx(0.0, abs=0.1)
    tokens = fit(product_sums(rows(token_tempered, log_p, 2.0), log_p, sampled).sum(axis=0))
    assert tokens.beyond_prediction == pytest.approx(1.0, abs=0.1)


def test_renyi_entropies_of_known_distributions() -> None:
    flat = np.log(np.full(5, 0.2))
    for order in (0.3, 1.0, 2.0, 7.0):
        assert renyi_entropy(flat, order) == pytest.approx(np.log(5))
    p = np.array([0.5, 0.25, 0.25])
    assert renyi_entropy(np.log(p), 2.0) == pytest.approx(-np.log(0.375))
    assert renyi_entropy(np.log(p), 1.0) == pytest.approx(-(p * np.log(p)).sum())
    assert renyi_entropy(np.array([[0.0], [0.0]]), 2.0).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("order", [0.5, 1.0, 2.0])
def test_the_sampled_power_sum_has_no_bias(order: float) -> None:
    random_ = np.random.default_rng(1)
    p = np.array([0.6, 0.2, 0.1, 0.06, 0.04])
    estimates = []
    for _ in range(4000):
        seen = np.unique(random_.choice(5, size=6, p=p))
        found = sampled_renyi_entropy(np.log(p[seen]), 6, order)
        estimates.append(found if order == 1.0 else np.exp((1 - order) * found))
    truth = renyi_entropy(np.log(p), order)
    assert np.mean(estimates) == pytest.approx(truth if order == 1.0 else np.exp((1 - order) * truth), rel=0.02)


def test_prefixes_with_one_branch_and_missing_ones_say_nothing() -> None:
    log_p = np.array([[-1.0, np.nan, np.nan]])
    future = np.ones((1, 3, len(ORDERS)))
    sums = product_sums(log_p, log_p, future).sum(axis=0)
    assert (sums == 0).all()
    assert np.isnan(fit(sums).slope_log_prob)
    flat = normalised(np.array([[-1.0, -2.0, -3.0]]))
    found = fit(product_sums(2 * flat, flat, future).sum(axis=0))
    assert found.slope_log_prob == pytest.approx(2.0)
    assert np.isnan(found.slope_future)
