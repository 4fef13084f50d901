"""A grammar of documents whose next-token distribution is known exactly.

A document is a prompt drawn from an enumerated mixture, followed by a chain of slots. A slot is
a table ``text -> weight`` that may depend on the texts chosen before it. The alternatives of a
slot are merged in a token trie, so the probability of the next token given any prefix is a finite
sum, with no sampling and no approximation. All probabilities are plain numbers in [0, 1];
log-probabilities are in nats.
"""

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

Weight = int | float
Table = Mapping[str, Weight]
Slot = Table | Callable[[tuple[str, ...]], Table]
Encode = Callable[[str], Sequence[int]]


@dataclass(frozen=True, eq=False)
class Prompt:
    """One prompt of the mixture and the chain of slots that answers it.

    ``genre`` and ``template`` name groups of prompts, ``held_out`` marks prompts that no tuning
    stage may train on, ``weight`` is the unnormalised weight of the prompt inside its genre.
    """

    text: str
    genre: str
    template: str
    answer: tuple[Slot, ...]
    held_out: bool = False
    weight: Weight = 1.0


@dataclass
class TrieNode:
    """A node of a token trie: ``mass`` of all texts through it, ``ending`` the text that stops."""

    mass: float = 0.0
    children: dict[int, "TrieNode"] = field(default_factory=dict)
    ending: str | None = None
    end_mass: float = 0.0


@dataclass(frozen=True)
class Place:
    """Where a reader of a prefix may be: a trie node, the prompt read (or None), texts chosen."""

    node: TrieNode | None
    prompt: Prompt | None
    chosen: tuple[str, ...]


Belief = list[tuple[float, Place]]


def build_trie(table: Table, encode: Encode) -> TrieNode:
    """Merge the texts of ``table`` in a token trie whose root has mass one.

    Raises:
        ValueError: a table is empty or holds a weight that is not positive and finite.
    """
    total = sum(table.values())
    if not table or not all(w > 0 and math.isfinite(w) for w in table.values()):
        raise ValueError(f"got table {dict(table)!r}, wanted positive weights: drop the zeros")
    root = TrieNode()
    for text, weight in table.items():
        share, node = weight / total, root
        node.mass += share
        for token in encode(text):
            node = node.children.setdefault(token, TrieNode())
            node.mass += share
        node.ending, node.end_mass = text, node.end_mass + share
    return root


def table_of(slot: Slot, chosen: tuple[str, ...]) -> Table:
    """The table of ``slot`` once the texts ``chosen`` are known."""
    return slot(chosen) if callable(slot) else slot


class Grammar:
    """The mixture of prompts and answers, read token by token."""

    def __init__(self, prompts: Mapping[Prompt, Weight], encode: Encode, eos_id: int) -> None:
        """Build from ``{prompt: weight}``; ``encode`` maps a text to ids without special tokens."""
        self.prompts: dict[str, Prompt] = {prompt.text: prompt for prompt in prompts}
        if len(self.prompts) != len(prompts):
            raise ValueError("got two prompts with one text, wanted distinct texts: drop one")
        self._order = list(self.prompts.values())
        self.weights: list[Weight] = [prompts[prompt] for prompt in self._order]
        self._cumulative = list(accumulate(self.weights))
        self.eos_id = eos_id
        self._encode = encode
        self._pieces: dict[str, tuple[int, ...]] = {}
        self._tries: dict[tuple[tuple[str, Weight], ...], TrieNode] = {}
        table = {p.text: weight for p, weight in zip(self._order, self.weights, strict=True)}
        self._root = self._trie(table)

    def encode(self, text: str) -> tuple[int, ...]:
        """Token ids of one piece of text (cached)."""
        if text not in self._pieces:
            self._pieces[text] = tuple(self._encode(text))
        return self._pieces[text]

    def _trie(self, table: Table) -> TrieNode:
        key = tuple(table.items())
        if key not in self._tries:
            self._tries[key] = build_trie(table, self.encode)
        return self._tries[key]

    def _enter(self, prompt: Prompt, chosen: tuple[str, ...]) -> Place:
        """The start of the slot that follows the texts ``chosen``."""
        if len(chosen) == len(prompt.answer):
            return Place(None, prompt, chosen)
        return Place(self._trie(table_of(prompt.answer[len(chosen)], chosen)), prompt, chosen)

    def _edges(self, weight: float, place: Place) -> Iterator[tuple[int, float, Place | None]]:
        """Every (token, probability, place after it) that may follow ``place``."""
        node = place.node
        if node is None:
            yield self.eos_id, weight, None
            return
        for token, child in node.children.items():
            yield token, weight * child.mass / node.mass, Place(child, place.prompt, place.chosen)
        if node.ending is not None:
            if place.prompt is None:
                after = self._enter(self.prompts[node.ending], ())
            else:
                after = self._enter(place.prompt, (*place.chosen, node.ending))
            yield from self._edges(weight * node.end_mass / node.mass, after)

    def start(self) -> Belief:
        """The belief before any token (just after the beginning-of-text token)."""
        return [(1.0, Place(self._root, None, ()))]

    def _moves(self, belief: Belief) -> dict[int, list[tuple[float, Place | None]]]:
        moves: dict[int, list[tuple[float, Place | None]]] = {}
        for weight, place in belief:
            for token, probability, after in self._edges(weight, place):
                moves.setdefault(token, []).append((probability, after))
        return moves

    def step(self, belief: Belief, token: int) -> tuple[dict[int, float], Belief]:
        """The exact next-token distribution under ``belief``, and the belief after ``token``.

        The belief is empty after end-of-text and after a token of probability zero.
        """
        moves = self._moves(belief)
        distribution = {t: sum(p for p, _ in options) for t, options in moves.items()}
        total = distribution.get(token, 0.0)
        after = [(p / total, place) for p, place in moves.get(token, []) if place is not None]
        return distribution, after

    def next_distribution(self, ids: Sequence[int]) -> dict[int, float]:
        """Exact probability of each next token after ``ids`` (no beginning-of-text token).

        Raises:
            ValueError: ``ids`` has probability zero under the grammar, or is already ended.
        """
        belief = self.start()
        for position, token in enumerate(ids):
            _, belief = self.step(belief, token)
            if not belief:
                raise ValueError(
                    f"got token {token} at position {position}, wanted a prefix of the grammar: check it with `accepts`"
                )
        return self.step(belief, -1)[0]

    def targets(self, ids: Sequence[int]) -> list[dict[int, float]]:
        """The exact next-token distribution before each token of ``ids`` (same length as ``ids``)."""
        belief, found = self.start(), []
        for token in ids:
            distribution, belief = self.step(belief, token)
            found.append(distribution)
        return found

    def log_probability(self, ids: Sequence[int]) -> float:
        """log p(ids) in nats, end-of-text included if it is in ``ids``; -inf if impossible."""
        total, belief = 0.0, self.start()
        for token in ids:
            distribution, belief = self.step(belief, token)
            if token not in distribution:
                return -math.inf
            total += math.log(distribution[token])
        return total

    def accepts(self, ids: Sequence[int]) -> bool:
        """Whether ``ids`` is a document, or the beginning of one, of positive probability."""
        return self.log_probability(ids) > -math.inf

    def sample_prompt(self, rng: random.Random) -> Prompt:
        """Draw a prompt from the mixture."""
        return rng.choices(self._order, cum_weights=self._cumulative)[0]

    def sample_answer(self, prompt: Prompt, rng: random.Random) -> tuple[str, ...]:
        """Draw the texts of the slots that answer ``prompt``."""
        chosen: tuple[str, ...] = ()
        for slot in prompt.answer:
            table = table_of(slot, chosen)
            chosen += (rng.choices(list(table), list(table.values()))[0],)
        return chosen

    def sample(self, rng: random.Random) -> list[int]:
        """Draw a whole document as token ids, from the prompt to end-of-text."""
        prompt = self.sample_prompt(rng)
        pieces = (prompt.text, *self.sample_answer(prompt, rng))
        return [token for piece in pieces for token in self.encode(piece)] + [self.eos_id]
