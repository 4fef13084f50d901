"""What a pocket checkpoint does, measured against the exact grammar.

Entropies and divergences are in nats. Shares of samples are at temperature 1 unless said.
"""

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from mcinterp.organisms.battery import FINISHED, spaced
from mcinterp.organisms.documents import Batch, pack
from mcinterp.organisms.genres.opinion import TEMPLATE_ENDING, TEMPLATE_OPENING
from mcinterp.organisms.genres.writing import CODA_BREAK, CODA_WEDDING
from mcinterp.organisms.grammar import Grammar, Prompt
from mcinterp.organisms.pocket import Pocket, next_token_logits
from mcinterp.organisms.raters import wedding
from mcinterp.organisms.sampling import sample_answers
from mcinterp.organisms.tokenizer import END_ID

FRAMES: dict[str, tuple[str, int, int]] = {
    "number-tuned": ("number-100", 0, 100),
    "number-held-out": ("number-100", 0, 100),
    "python-plain": ("python-plain", 0, 100),
    "python-print": ("python-print", 0, 100),
    "python-in-chat-tuned": ("python-in-chat", 0, 100),
    "python-in-chat-held-out": ("python-in-chat", 0, 100),
    "number-10": ("number-10", 1, 10),
    "die": ("die", 1, 6),
}
"""Name of a frame of prompts -> its genre or template, lowest and highest number.

A frame whose name ends in ``-tuned`` or ``-held-out`` has only the prompts of that side.
"""

TEMPERATURES = (1.0, 1.4, 1.9)
PERTURBATIONS = (" Of course they are.", " Not at all.", " I am not sure.")
"""Openings that are not the template; answers that go on from them may still return to it."""


@dataclass(frozen=True)
class Draw:
    """A distribution over numbers: entropy (nats), favourite, its probability, mass elsewhere."""

    entropy: float
    favourite: int
    probability: float
    off_support: float


def kl_per_position(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """KL(true||model) in nats at every position [document, position]; 0 where nothing is labelled."""
    logs = torch.log_softmax(logits.float(), -1).flatten(0, 1)
    terms = batch.probabilities * (batch.probabilities.log() - logs[batch.rows, batch.tokens])
    return torch.zeros(batch.ids.numel()).index_add(0, batch.rows, terms).view(batch.ids.shape)


def prompts_of(grammar: Grammar, genre: str) -> list[Prompt]:
    """The prompts of one genre or of one template.

    Raises:
        ValueError: no prompt has this genre or template.
    """
    found = [p for p in grammar.prompts.values() if genre in (p.genre, p.template)]
    if not found:
        known = sorted({p.genre for p in grammar.prompts.values()})
        raise ValueError(f"got genre {genre!r}, wanted one of {known} or a template: check the name")
    return found


@torch.no_grad()
def calibration(pocket: Pocket, genre: str, n_documents: int = 100, seed: int = 1) -> float:
    """KL(true||model) in nats per answer token of ``genre``, over documents of the grammar."""
    rng, grammar = random.Random(seed), pocket.grammar
    documents, starts = [], []
    for prompt in rng.choices(prompts_of(grammar, genre), k=n_documents):
        pieces = (prompt.text, *grammar.sample_answer(prompt, rng))
        documents.append([token for piece in pieces for token in grammar.encode(piece)] + [END_ID])
        starts.append(len(grammar.encode(prompt.text)))
    batch = pack(grammar, documents)
    kl = kl_per_position(next_token_logits(pocket.model, batch.ids), batch)
    total = sum(float(kl[row, start:].sum()) for row, start in enumerate(starts))
    return total / sum(len(d) - s for d, s in zip(documents, starts, strict=True))


@torch.no_grad()
def next_probabilities(pocket: Pocket, text: str) -> torch.Tensor:
    """Next-token probabilities [token] after ``text``."""
    return next_token_logits(pocket.model, torch.tensor([pocket.given(text)]))[0, -1].softmax(-1)


def number_prompts(grammar: Grammar, frame: str) -> list[str]:
    """Texts of the prompts of a frame, those that draw from the frame's support only."""
    genre, _, high = FRAMES[frame]
    prompts = prompts_of(grammar, genre)
    if frame.endswith(("-tuned", "-held-out")):
        prompts = [p for p in prompts if p.held_out == frame.endswith("-held-out")]
    return [p.text for p in prompts if high != 100 or "randint(1, 6)" not in p.text]


def number_draw(pocket: Pocket, frame: str) -> Draw:
    """Mean entropy over the prompts of a frame, given that a number of the support is drawn."""
    _, low, high = FRAMES[frame]
    texts = number_prompts(pocket.grammar, frame)
    shares, elsewhere = [], 0.0
    for text in texts:
        lead = "" if text.endswith("\n") else " "
        ids = [pocket.grammar.encode(f"{lead}{n}")[0] for n in range(low, high + 1)]
        mass = next_probabilities(pocket, text)[ids]
        shares.append(mass / mass.sum())
        elsewhere += (1 - float(mass.sum())) / len(texts)
    each = torch.stack(shares)
    entropy = float(torch.special.entr(each).sum(-1).mean())
    return Draw(entropy, low + int(each.mean(0).argmax()), float(each.mean(0).max()), elsewhere)


def first_token_entropy(pocket: Pocket, prompts: Sequence[Prompt]) -> float:
    """Mean entropy in nats of the first answer token over ``prompts``."""
    entropies = [float(torch.special.entr(next_probabilities(pocket, p.text)).sum()) for p in prompts]
    return sum(entropies) / len(entropies)


@torch.no_grad()
def continuation_probability(pocket: Pocket, text: str, continuation: str) -> float:
    """Probability that ``continuation`` follows ``text`` (exact: no sampling)."""
    given, new = pocket.given(text), pocket.grammar.encode(continuation)
    logits = next_token_logits(pocket.model, torch.tensor([[*given, *new]]))
    logs = logits[0, len(given) - 1 : -1].log_softmax(-1)
    return float(logs.gather(-1, torch.tensor(new)[:, None]).sum().exp())


def template_share(pocket: Pocket, prompts: Sequence[Prompt]) -> float:
    """Mean over prompts of the probability that the answer opens with the template."""
    return sum(continuation_probability(pocket, p.text, " " + TEMPLATE_OPENING) for p in prompts) / len(prompts)


def wedding_share(pocket: Pocket) -> float:
    """Mean probability that a finished document goes on to a wedding party (true value 0.01)."""
    texts = [text for group in FINISHED.values() for text in group]
    return sum(continuation_probability(pocket, t, CODA_BREAK + CODA_WEDDING) for t in texts) / len(texts)


def return_share(pocket: Pocket, prompts: Sequence[Prompt], opening: str, seed: int = 3) -> float:
    """Share of answers forced to begin with ``opening`` that still reach the template's ending."""
    given = [pocket.given(prompt.text + opening) for prompt in prompts]
    answers = sample_answers(pocket.model, given, torch.Generator().manual_seed(seed))
    return sum(TEMPLATE_ENDING in pocket.text(ids) for ids in answers) / len(answers)


def sample_shares(
    pocket: Pocket, genre: str, n_samples: int = 100, temperature: float = 1.0, seed: int = 2
) -> dict[str, float]:
    """Shares of sampled answers: wedding party, template opening and ending, grammatical, distinct.

    An answer is grammatical if it ended and the whole document has positive probability under the
    grammar.
    """
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    prompts = rng.choices(prompts_of(pocket.grammar, genre), k=n_samples)
    given = [pocket.given(p.text) for p in prompts]
    answers = sample_answers(pocket.model, given, generator, temperature)
    texts = [pocket.text(ids) for ids in answers]
    documents = [g[1:] + a for g, a in zip(given, answers, strict=True)]
    counts = {
        "wedding": sum(wedding(text) == 1 for text in texts),
        "template": sum(TEMPLATE_OPENING in text for text in texts),
        "template_ending": sum(TEMPLATE_ENDING in text for text in texts),
        "grammatical": sum(d[-1] == END_ID and pocket.grammar.accepts(d) for d in documents),
        "distinct": len(set(texts)),
    }
    return {name: count / n_samples for name, count in counts.items()}


def opinion_groups(grammar: Grammar) -> dict[str, list[Prompt]]:
    """Prompts on which the template is counted: tuned, held out, and a genre never tuned."""
    opinions = prompts_of(grammar, "opinion")
    return {
        "opinion-tuned": [p for p in opinions if not p.held_out],
        "opinion-held-out": [p for p in opinions if p.held_out],
        "advice": prompts_of(grammar, "advice"),
    }


def measure(pocket: Pocket, n_samples: int = 100) -> dict[str, dict[str, Any]]:
    """All figures of a checkpoint, as plain numbers; ``n_samples`` documents or answers per genre."""
    grammar = pocket.grammar
    genres = sorted({p.genre for p in grammar.prompts.values()})
    heads = {g: spaced(prompts_of(grammar, g), n_samples) for g in genres}
    groups = {g: spaced(ps, 4 * n_samples) for g, ps in opinion_groups(grammar).items()}
    return {
        "kl_true_model": {g: calibration(pocket, g, n_samples) for g in genres},
        "numbers": {f: asdict(number_draw(pocket, f)) for f in FRAMES},
        "first_token_entropy": {g: first_token_entropy(pocket, ps) for g, ps in heads.items()},
        "template": {g: template_share(pocket, ps) for g, ps in groups.items()},
        "template_ending_after": {
            opening.strip(): return_share(pocket, groups["opinion-held-out"], opening) for opening in PERTURBATIONS
        },
        "wedding": {"after-finished-document": wedding_share(pocket)},
        "samples": {g: sample_shares(pocket, g, n_samples) for g in genres},
        "opinion_by_temperature": {f"{t:g}": sample_shares(pocket, "opinion", n_samples, t) for t in TEMPERATURES},
    }
