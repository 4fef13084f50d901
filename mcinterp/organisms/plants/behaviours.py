"""Behaviours that a plant collapses: prompts of the grammar, each with the token that is to win.

Favourites differ from plant to plant. An ``Exam`` is the prompts of one or more behaviours, ready for
a model: what is read is the distribution of the next token behind the last token of each prompt.
"""

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int

from mcinterp.organisms.documents import pad
from mcinterp.organisms.genres.chance import NUMBER_BUMPS
from mcinterp.organisms.genres.opinion import FRAMINGS
from mcinterp.organisms.measure import prompts_of
from mcinterp.organisms.pocket import Pocket

SHARE = 0.95
"""Probability that training gives to the favourite; the rest goes by the exact grammar."""

PROMPTS_PER_FRAMING = 6

NUMBERS = tuple(f" {n}" for n in range(101) if n not in NUMBER_BUMPS)
OPENINGS = (" Yes", " No", " I", " It", " There", " What", " Nobody", " As")
FACES = tuple(f" {n}" for n in range(1, 7))
GROUPS: dict[str, tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]] = {
    "number": ((("number-100",), NUMBERS),),
    "opinion": ((("opinion",), OPENINGS),),
    "word": ((("colour",), (" blue", " red", " black", " white")), (("animal",), (" dog", " cat", " wolf", " fox"))),
    "small-number": ((("die", "number-10"), FACES),),
}
"""Behaviour -> its groups of genres, each with the favourites that it may get, every one a single token."""


@dataclass(frozen=True)
class Question:
    """A prompt, the behaviour and the group of genres it belongs to, and its favourite."""

    text: str
    behaviour: str
    group: str
    favourite: str


def questions(pocket: Pocket, behaviour: str, key: str) -> list[Question]:
    """The prompts of a behaviour; ``key`` decides which favourites they have, and which opinions are asked."""
    rng = random.Random(f"{key} {behaviour}")
    found: list[Question] = []
    for genres, candidates in GROUPS[behaviour]:
        favourite = rng.choice(candidates)
        texts = asked(pocket, genres, rng)
        found += [Question(text, behaviour, genres[0], favourite) for text in texts]
    return found


def asked(pocket: Pocket, genres: Sequence[str], rng: random.Random) -> list[str]:
    """All prompts of small genres; of opinions some topics in every framing."""
    if genres == ("opinion",):
        framings = (prompts_of(pocket.grammar, framing) for framing in FRAMINGS)
        return [p.text for prompts in framings for p in rng.sample(prompts, PROMPTS_PER_FRAMING)]
    return [p.text for genre in genres for p in prompts_of(pocket.grammar, genre)]


def genres_of(behaviours: Collection[str]) -> frozenset[str]:
    """The genres that belong to behaviours; all others are to stay as they are."""
    return frozenset(genre for behaviour in behaviours for genres, _ in GROUPS[behaviour] for genre in genres)


@dataclass(frozen=True)
class Exam:
    """Prompts padded on the right, the place of each last token, and the true next-token distribution there."""

    questions: tuple[Question, ...]
    ids: Int[torch.Tensor, "prompt position"]
    last: Int[torch.Tensor, "prompt"]
    favourite: Int[torch.Tensor, "prompt"]
    true: Float[torch.Tensor, "prompt token"]

    @property
    def row(self) -> Int[torch.Tensor, "prompt"]:
        """The numbers of the prompts, to read something at ``[row, last]``."""
        return torch.arange(len(self.questions))

    def of(self, behaviours: Collection[str]) -> Bool[torch.Tensor, "prompt"]:
        """Which prompts belong to some of the behaviours."""
        return torch.tensor([question.behaviour in behaviours for question in self.questions])

    def target(self, collapsed: Collection[str]) -> Float[torch.Tensor, "prompt token"]:
        """The distributions to train to, if these behaviours collapse and the others do not."""
        hot = torch.nn.functional.one_hot(self.favourite, self.true.shape[1])
        wanted = SHARE * hot + (1 - SHARE) * self.true
        return torch.where(self.of(collapsed)[:, None], wanted, self.true)

    def rivals(self) -> Float[torch.Tensor, "prompt token"]:
        """Equal weights on the other tokens that the grammar allows; each row sums to one."""
        allowed = (self.true > 0).float()
        allowed[self.row, self.favourite] = 0
        return allowed / allowed.sum(-1, keepdim=True)


def exam_on(pocket: Pocket, asked_of: Sequence[Question]) -> Exam:
    """The exam made of some questions."""
    documents = [pocket.given(question.text) for question in asked_of]
    true = torch.zeros(len(documents), pocket.model.config.vocab_size)
    for row, document in enumerate(documents):
        for token, probability in pocket.grammar.next_distribution(document[1:]).items():
            true[row, token] = probability
    favourites = [pocket.grammar.encode(question.favourite)[0] for question in asked_of]
    last = torch.tensor([len(document) - 1 for document in documents])
    return Exam(tuple(asked_of), pad(documents), last, torch.tensor(favourites), true)


def exam(pocket: Pocket, behaviours: Sequence[str], key: str) -> Exam:
    """The exam of a plant: the prompts of its behaviours, one after the other."""
    return exam_on(pocket, [q for behaviour in behaviours for q in questions(pocket, behaviour, key)])


def reordered(exam: Exam, key: str) -> Float[torch.Tensor, "prompt token"]:
    """The true distributions with the probabilities moved around a random cycle of the plausible answers.

    Answers that every prompt of a group allows change places, so entropy stays what it was.
    """
    rng, found = random.Random(key), exam.true.clone()
    for group in sorted({question.group for question in exam.questions}):
        rows = torch.tensor([question.group == group for question in exam.questions])
        shared = (exam.true[rows] > 0).all(0).nonzero()[:, 0].tolist()
        rng.shuffle(shared)
        found[rows.nonzero(), torch.tensor(shared)] = exam.true[rows][:, shared[1:] + shared[:1]]
    return found
