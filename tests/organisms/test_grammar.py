"""The grammar's conditionals are exact: they agree with enumeration, the chain rule and sampling."""

import itertools
import math
import random
from collections import Counter

import pytest
from shipped import byte_grammar

from mcinterp.organisms.genres import all_prompts, prompt_weights
from mcinterp.organisms.grammar import Grammar, Prompt, TrieNode, build_trie

EOS = 0


def encode(text: str) -> list[int]:
    return [ord(letter) for letter in text]


def tail(chosen: tuple[str, ...]) -> dict[str, float]:
    return {"": 1, "!": 2} if chosen[0] == "a" else {"!": 3, "?": 1, "?!": 1}


SMALL = {
    Prompt("x", "letters", "x", ({"a": 1, "ab": 2, "b": 5}, {"b": 3, "": 1}, tail)): 2.0,
    Prompt("xa", "letters", "xa", ({"b": 1, "c": 1}, {"d": 1})): 1.0,
    Prompt("y", "letters", "y", ({"q": 1},)): 1.0,
}


@pytest.fixture
def small() -> Grammar:
    return Grammar(SMALL, encode, EOS)


def enumerate_documents() -> dict[str, float]:
    """Probability of every document of the small grammar, by brute force over all choices."""
    documents: Counter[str] = Counter()
    for prompt, weight in SMALL.items():
        states: dict[tuple[str, ...], float] = {(): weight / sum(SMALL.values())}
        for slot in prompt.answer:
            grown = {}
            for chosen, p in states.items():
                table = slot(chosen) if callable(slot) else slot
                for text, w in table.items():
                    grown[(*chosen, text)] = p * w / sum(table.values())
            states = grown
        for chosen, p in states.items():
            documents[prompt.text + "".join(chosen)] += p
    return dict(documents)


def nodes(node: TrieNode) -> list[TrieNode]:
    return [node, *itertools.chain.from_iterable(nodes(child) for child in node.children.values())]


def test_trie_mass_is_conserved_at_every_node():
    root = build_trie({"a": 1, "ab": 2, "abc": 3, "b": 4, "": 5}, encode)
    assert root.mass == pytest.approx(1)
    for node in nodes(root):
        assert node.mass == pytest.approx(sum(c.mass for c in node.children.values()) + node.end_mass)


@pytest.mark.parametrize("table", [{}, {"a": 0.0}, {"a": -1.0, "b": 2.0}, {"a": math.inf}])
def test_trie_refuses_weights_that_are_not_positive(table: dict[str, float]):
    with pytest.raises(ValueError, match="wanted positive weights"):
        build_trie(table, encode)


def test_two_prompts_with_one_text_are_refused():
    twins = {Prompt("x", "g", "t", ({"a": 1},)): 1.0, Prompt("x", "g", "u", ({"b": 1},)): 1.0}
    with pytest.raises(ValueError, match="wanted distinct texts"):
        Grammar(twins, encode, EOS)


def test_conditionals_equal_enumeration_at_every_prefix(small: Grammar):
    documents = {(*encode(text), EOS): p for text, p in enumerate_documents().items()}
    assert sum(documents.values()) == pytest.approx(1)
    prefixes = {ids[:n] for ids in documents for n in range(len(ids))}
    for prefix in prefixes:
        mass: Counter[int] = Counter()
        for ids, p in documents.items():
            if ids[: len(prefix)] == prefix:
                mass[ids[len(prefix)]] += p
        exact = {token: p / sum(mass.values()) for token, p in mass.items()}
        assert small.next_distribution(prefix) == pytest.approx(exact)


def test_chain_rule_gives_the_probability_of_a_document(small: Grammar):
    for text, p in enumerate_documents().items():
        ids = [*encode(text), EOS]
        targets = small.targets(ids)
        product = math.prod(target[token] for target, token in zip(targets, ids, strict=True))
        assert product == pytest.approx(p)
        assert small.log_probability(ids) == pytest.approx(math.log(p))


def test_impossible_text_is_not_accepted(small: Grammar):
    assert small.accepts(encode("xab"))
    assert not small.accepts(encode("xz"))
    assert small.log_probability(encode("xz")) == -math.inf
    with pytest.raises(ValueError, match="got token 122 at position 1"):
        small.next_distribution(encode("xz"))


def test_sampling_frequencies_agree_with_exact(small: Grammar):
    rng, n = random.Random(0), 20_000
    counts = Counter(tuple(small.sample(rng)) for _ in range(n))
    exact = {(*encode(text), EOS): p for text, p in enumerate_documents().items()}
    assert counts.keys() <= exact.keys()
    for ids, p in exact.items():
        assert abs(counts[ids] / n - p) < 5 * math.sqrt(p * (1 - p) / n)


def test_the_mixture_is_large_varied_and_normalised():
    prompts = all_prompts()
    assert len(prompts) >= 1600
    assert len({p.text for p in prompts}) == len(prompts)
    assert len({p.genre for p in prompts}) >= 18
    assert sum(prompt_weights(prompts)) == pytest.approx(1)


def test_every_position_of_a_pocket_document_sums_to_one():
    grammar, rng = byte_grammar(), random.Random(3)
    for _ in range(60):
        for target in grammar.targets(grammar.sample(rng)):
            assert sum(target.values()) == pytest.approx(1)


def test_every_slot_of_every_prompt_can_be_drawn():
    grammar, rng = byte_grammar(), random.Random(4)
    for prompt in all_prompts():
        assert len(grammar.sample_answer(prompt, rng)) == len(prompt.answer)


def test_prompts_end_where_an_answer_can_begin():
    rng, grammar = random.Random(5), byte_grammar()
    for prompt in all_prompts():
        answer = "".join(grammar.sample_answer(prompt, rng))
        assert not prompt.text.endswith(" ")
        assert prompt.text.endswith("\n") or answer.startswith((" ", "\n"))
