"""Exact prefix trees: a plain enumeration, the grammar's own truth, sums of one, budgets, caches."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from mcinterp.behaviour.multiverse import growing
from mcinterp.behaviour.multiverse import reading as tree_reading
from mcinterp.behaviour.multiverse.growing import Growth, grow
from mcinterp.behaviour.multiverse.nodes import Tree
from mcinterp.chain import Chain, Stage, load_pair
from mcinterp.divergence import log_probs
from mcinterp.errors import InputError
from mcinterp.organisms import pocket_path
from mcinterp.organisms.pocket import load
from mcinterp.prompts import Prompts

TEXTS = Prompts.from_texts(["a", "one two three", "Say: it is"])
SMALL = Growth(least=0.012, depth=3, most_nodes=5000)


def ids_of(chain: Chain, prompts: Prompts = TEXTS) -> list[tuple[int, ...]]:
    return list(chain.render(prompts).token_ids)


def as_dict(tree: Tree) -> dict[tuple[int, ...], np.ndarray]:
    return {tree.tokens(node): tree.log_prob[:, node] for node in range(len(tree))}


@torch.inference_mode()
def next_logs(stage: Stage, ids: tuple[int, ...]) -> np.ndarray:
    logits = stage.bridge(torch.tensor([ids]))[0, -1, : stage.readout.vocabulary]
    return log_probs(logits).double().numpy()


def enumerated(
    chain: Chain, prompt: tuple[int, ...], growth: Growth, before: tuple[int, ...] = (), so_far: object = 0.0
) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    """Every prefix, one forward pass at a time."""
    ends = set().union(*(stage.end_tokens for stage in chain.stages))
    here = np.zeros(len(chain.stages)) + np.asarray(so_far)
    yield before, here
    if len(before) == growth.depth or (before and before[-1] in ends):
        return
    logs = here[:, None] + np.stack([next_logs(stage, (*prompt, *before)) for stage in chain.stages])
    for token in np.flatnonzero(logs.max(axis=0) >= np.log(growth.least)).tolist():
        yield from enumerated(chain, prompt, growth, (*before, token), logs[:, token])


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma2", "gpt_neox"])
def test_a_tree_is_what_a_plain_enumeration_finds(tiny, architecture: str) -> None:
    chain = load_pair(str(tiny(architecture)), str(tiny(architecture, "tuned")))
    for prompt, tree in zip(ids_of(chain), grow(chain, ids_of(chain), SMALL), strict=True):
        expected, found = dict(enumerated(chain, prompt, SMALL)), as_dict(tree)
        assert len(found) == len(tree) > 20
        assert set(found) == set(expected)
        for prefix, logs in found.items():
            np.testing.assert_allclose(logs, expected[prefix], atol=2e-5)


def test_a_tree_of_three_stages_keeps_what_any_of_them_finds_likely(chain: Chain) -> None:
    prompt = ids_of(chain)[1]
    (tree,) = grow(chain, [prompt], SMALL)
    expected = dict(enumerated(chain, prompt, SMALL))
    assert set(as_dict(tree)) == set(expected)
    assert tree.log_prob.shape == (3, len(expected))
    assert bool((tree.log_prob.max(axis=0) >= np.log(SMALL.least)).all())


@pytest.mark.parametrize("most", [7, 40, 5000])
def test_tree_and_cut_sum_to_one_at_every_node_and_depth(chain: Chain, most: int) -> None:
    for tree in grow(chain, ids_of(chain), Growth(0.02, 4, most)):
        share = np.exp(tree.log_prob)
        inside = np.zeros_like(share)
        np.add.at(inside, (slice(None), tree.parent[1:]), share[:, 1:])
        read = tree.expanded
        np.testing.assert_allclose((inside + tree.cut)[:, read], share[:, read], atol=1e-5)
        assert not inside[:, ~read].any()
        assert not tree.cut[:, ~read].any()
        whole = tree.cut.sum(axis=1) + share[:, ~read].sum(axis=1)
        np.testing.assert_allclose(whole, 1.0, atol=1e-5)


def test_a_budget_keeps_the_likeliest_prefixes(pair: Chain) -> None:
    growth = Growth(0.02, 3, 5000)
    for whole, part in zip(
        grow(pair, ids_of(pair), growth), grow(pair, ids_of(pair), Growth(0.02, 3, 15)), strict=True
    ):
        ranked = sorted(as_dict(whole).items(), key=lambda each: -each[1].max())
        assert len(part) == 15 < len(whole)
        found = as_dict(part)
        assert set(found) == {prefix for prefix, _ in ranked[:15]}
        for prefix, logs in ranked[:15]:
            np.testing.assert_allclose(found[prefix], logs, atol=1e-6)


@pytest.mark.parametrize(("name", "value"), [("CACHE_BYTES", 0), ("LOGIT_BYTES", 3000)])
def test_neither_caches_nor_blocks_change_a_tree(
    pair: Chain, monkeypatch: pytest.MonkeyPatch, name: str, value: int
) -> None:
    plain = grow(pair, ids_of(pair), SMALL)
    monkeypatch.setattr(tree_reading, name, value)
    for one, other in zip(plain, grow(pair, ids_of(pair), SMALL), strict=True):
        expected = as_dict(other)
        assert set(as_dict(one)) == set(expected)
        for prefix, logs in as_dict(one).items():
            np.testing.assert_allclose(logs, expected[prefix], atol=1e-5)


def test_prompts_grown_together_are_as_grown_alone(pair: Chain) -> None:
    for prompt, tree in zip(ids_of(pair), grow(pair, ids_of(pair), SMALL), strict=True):
        alone = as_dict(grow(pair, [prompt], SMALL)[0])
        assert set(alone) == set(as_dict(tree))
        assert max(float(abs(logs - alone[prefix]).max()) for prefix, logs in as_dict(tree).items()) < 1e-5


def test_an_identical_pair_has_equal_probabilities(identical: Chain) -> None:
    for tree in grow(identical, ids_of(identical), SMALL):
        np.testing.assert_array_equal(tree.log_prob[0], tree.log_prob[1])
        np.testing.assert_array_equal(tree.entropy[0], tree.entropy[1])
        np.testing.assert_array_equal(tree.cut[0], tree.cut[1])


def test_a_tree_stops_where_the_context_is_full(pair: Chain) -> None:
    context = pair.alignment.context
    full, nearly = (tuple([5] * length) for length in (context, context - 2))
    stopped, short = grow(pair, [full, nearly], Growth(0.002, 6))
    assert len(stopped) == 1
    assert not stopped.expanded.any()
    assert int(short.depth.max()) == 2
    assert not short.expanded[short.depth == 2].any()


def test_ended_texts_are_not_continued(pocket: Chain) -> None:
    prompt = ids_of(pocket, Prompts.from_texts(["Pick a random number between 0 and 100:"]))
    (tree,) = grow(pocket, prompt, Growth(0.05, 4))
    assert bool(tree.ended.any())
    assert not tree.expanded[tree.ended].any()
    assert set(tree.token[tree.ended].tolist()) <= set(pocket.base.end_tokens)


def test_the_base_is_as_the_grammar_says(pocket: Chain) -> None:
    base = Chain((pocket.base,), pocket.alignment)
    grammar = load(pocket_path("base")).grammar
    texts = ["Are bugs real?", "Q: Heads or tails?\nA:", "Here is a joke."]
    for text, tree in zip(texts, grow(base, ids_of(base, Prompts.from_texts(texts)), Growth(0.02, 6)), strict=True):
        before = grammar.encode(text)
        truth = grammar.next_distribution(before)
        first = {
            tree.tokens(n)[0]: float(np.exp(tree.log_prob[0, n])) for n in np.flatnonzero(tree.depth == 1).tolist()
        }
        likely = {token for token, share in truth.items() if share > 0.03}
        assert likely <= set(first)
        assert sum(abs(share - truth.get(token, 0.0)) for token, share in first.items()) / 2 < 0.05
        whole = grammar.log_probability(before)
        for depth in range(1, 7):
            nodes = np.flatnonzero(tree.depth == depth).tolist()
            exact = [np.exp(grammar.log_probability((*before, *tree.tokens(n))) - whole) for n in nodes]
            assert np.abs(np.exp(tree.log_prob[0, nodes]) - exact).sum() / 2 < 0.1


def test_a_tree_of_the_grammar_itself_is_exact(pocket: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    grammar, base = load(pocket_path("base")).grammar, Chain((pocket.base,), pocket.alignment)

    def true(chain: Chain, block: tree_reading.Block) -> tuple[list[torch.Tensor], tuple[None]]:
        logs = torch.full((len(block.rows), chain.alignment.vocabulary), -torch.inf)
        for row, (ids, there) in enumerate(zip(block.tokens, block.attention.bool(), strict=True)):
            for token, share in grammar.next_distribution(ids[there].tolist()[1:]).items():
                logs[row, token] = np.log(share)
        return [logs], (None,)

    monkeypatch.setattr(growing, "read", true)
    monkeypatch.setattr(growing, "affordable", lambda *_: False)
    texts = ["Are bees real?", "Q: Heads or tails?\nA:"]
    for text, found in zip(texts, grow(base, ids_of(base, Prompts.from_texts(texts)), Growth(0.02, 20)), strict=True):
        before = grammar.encode(text)
        whole = grammar.log_probability(before)
        assert len(found) > 30
        for prefix, (log_prob,) in as_dict(found).items():
            assert log_prob == pytest.approx(grammar.log_probability((*before, *prefix)) - whole, abs=1e-5)
        standing = np.exp(found.log_prob[0])[~found.expanded].sum() + found.cut.sum()
        assert standing == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("bad", [{"least": 0.0}, {"least": 2.0}, {"depth": 0}, {"most_nodes": 0}])
def test_bad_settings_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(InputError, match="give a probability above 0 and at most 1, and whole numbers of 1 or more"):
        Growth(**bad)
