"""Attractors across prompts: what tuned stages write after many prompts and the base does not.

Two kinds are looked for: `opening`, a continuation that stands right after the prompt, whose probability is exact; and
`phrase`, tokens that turn up anywhere in what is sampled, whose probability is the share of samples that hold it.
Candidates are found on one half of the templates and confirmed on the other, so that what merely fits the prompts it
was found on is not called an attractor.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice

import numpy as np
import xarray as xr

from mcinterp.budget import halving
from mcinterp.chain import Chain, Stage
from mcinterp.completions import Decoding, complete_many
from mcinterp.rendering import RenderedPrompts
from mcinterp.results import describe, with_provenance
from mcinterp.scoring import continuation_log_probs
from mcinterp.statistics import bootstrap

Tokens = tuple[int, ...]
Samples = Sequence[Sequence[Tokens]]
Pieces = Callable[[Tokens, int], Iterable[Tokens]]
NEARLY = 0.9


@dataclass(frozen=True)
class Search:
    """What counts as a candidate, and what confirms one.

    Every stage writes `samples` completions of at most `length` tokens at temperature 1 after each prompt. A candidate
    has at most `depth` tokens and is written after more discovery prompts than by the base, by at least `min_share` of
    them; the `candidates` largest gains of each stage and kind are kept. It is confirmed for a stage when its mean
    probability on held-out prompts is at least `min_mass` and the interval of stage minus base lies above 0.
    """

    samples: int = 2
    length: int = 48
    depth: int = 12
    candidates: int = 5
    min_share: float = 0.05
    min_mass: float = 0.1
    seed: int = 0


@dataclass(frozen=True)
class Candidate:
    """Some tokens, and where they are looked for."""

    kind: str
    tokens: Tokens


def halves(templates: Sequence[str], seed: int) -> tuple[list[int], list[int]]:
    """Prompt indices of the discovery half and the held-out half; a template is never in both."""
    names = list(dict.fromkeys(templates))
    chosen = set(np.random.default_rng(seed).permutation(len(names))[: (len(names) + 1) // 2].tolist())
    discovery = [i for i, name in enumerate(templates) if names.index(name) in chosen]
    return discovery, [i for i in range(len(templates)) if i not in set(discovery)]


@halving
def find_attractors(chain: Chain, prompts: RenderedPrompts, search: Search = Search()) -> xr.Dataset:
    """Openings and phrases whose probability is high over many prompts after tuning, and was not before.

    Over `candidate` (with its text, kind and length) and `stage`: the mean `probability` on held-out prompts and its
    interval over templates, `difference` (stage minus base) with its interval, `share_captured` (held-out prompts that
    give it more than half), and `confirmed`. With a single template nothing can be held out and there is no candidate.
    """
    discovery, held_out = halves(prompts.templates, search.seed)
    decoding = Decoding(search.length, temperature=1.0, seed=search.seed)
    context = chain.alignment.context
    written = [
        complete_many(stage, prompts.token_ids, decoding, context=context, samples=search.samples)
        for stage in chain.stages
    ]
    found = candidates([[samples[i] for i in discovery] for samples in written], search) if held_out else []
    held_ids = [prompts.token_ids[i] for i in held_out]
    values = np.zeros((len(held_out), len(found), len(chain.stages)))
    for s, stage in enumerate(chain.stages):
        values[:, :, s] = probabilities(stage, held_ids, [written[s][i] for i in held_out], found, context).T
    dataset = attractor_table(chain, found, values, [prompts.templates[i] for i in held_out], search)
    dataset.attrs.update(n_discovery=len(discovery), n_held_out=len(held_out))
    checkpoints = [stage.checkpoint.provenance() for stage in chain.stages]
    return with_provenance(describe(dataset), analysis="attractors", search=asdict(search), checkpoints=checkpoints)


def candidates(written: Sequence[Samples], search: Search) -> list[Candidate]:
    """For every stage but the base and each kind, what gained most over the base in what was written."""
    found: dict[Candidate, None] = {}
    for kind, pieces in (("opening", openings), ("phrase", phrases)):
        base = prompts_with(written[0], pieces, search.depth)
        for samples in written[1:]:
            counts = prompts_with(samples, pieces, search.depth)
            least = max(2.0, search.min_share * len(samples))
            gains = {tokens: n - base[tokens] for tokens, n in counts.items() if n - base[tokens] >= least}
            best = distinct(
                sorted(gains.keys() - giving_way(gains), key=lambda tokens: (-gains[tokens], -len(tokens), tokens))
            )
            found.update(dict.fromkeys(Candidate(kind, tokens) for tokens in islice(best, search.candidates)))
    return list(found)


def distinct(ordered: Sequence[Tokens]) -> Iterator[Tokens]:
    """The pieces in order, without those of which half or more stands together in one already taken."""
    taken: list[Tokens] = []
    for tokens in ordered:
        runs = list(phrases(tokens, len(tokens)))
        half = [run for run in runs if 2 * len(run) >= len(tokens)]
        if not any(holds(each, run) for each in taken for run in half):
            taken.append(tokens)
            yield tokens


def openings(text: Tokens, depth: int) -> Iterable[Tokens]:
    """The beginnings of a text."""
    return (text[:size] for size in range(1, min(depth, len(text)) + 1))


def phrases(text: Tokens, depth: int) -> Iterable[Tokens]:
    """The runs of tokens of a text."""
    return (text[i : i + size] for size in range(1, depth + 1) for i in range(len(text) - size + 1))


def prompts_with(samples: Samples, pieces: Pieces, depth: int) -> Counter[Tokens]:
    """After how many prompts each piece was written at least once."""
    counts: Counter[Tokens] = Counter()
    for texts in samples:
        counts.update({piece for text in texts for piece in pieces(text, depth)})
    return counts


def giving_way(gains: dict[Tokens, int]) -> set[Tokens]:
    """The pieces that with one token more on either side are nearly as common: there the longer piece says it all."""
    shorter = ((longer, part) for longer in gains for part in (longer[:-1], longer[1:]) if part in gains)
    return {part for longer, part in shorter if gains[longer] >= NEARLY * gains[part]}


def probabilities(
    stage: Stage, prompts: Sequence[Tokens], samples: Samples, found: Sequence[Candidate], context: int
) -> np.ndarray:
    """The probability of every candidate after every prompt: exact for openings, the share of samples for phrases."""
    exact = opening_probabilities(stage, prompts, [c.tokens for c in found if c.kind == "opening"], context)
    rows = iter(exact)
    return np.array([next(rows) if c.kind == "opening" else phrase_shares(samples, c.tokens) for c in found]).reshape(
        len(found), len(prompts)
    )


def opening_probabilities(stage: Stage, prompts: Sequence[Tokens], found: Sequence[Tokens], context: int) -> np.ndarray:
    """P(opening | prompt) for every opening and prompt; missing where both do not fit the context."""
    values = np.full((len(found), len(prompts)), np.nan)
    fits = [
        (c, p) for c in range(len(found)) for p in range(len(prompts)) if len(prompts[p]) + len(found[c]) <= context
    ]
    if fits:
        scores = continuation_log_probs(stage, [prompts[p] for _, p in fits], [found[c] for c, _ in fits])
        values[tuple(np.asarray(fits).T)] = scores.exp().numpy()
    return values


def phrase_shares(samples: Samples, tokens: Tokens) -> list[float]:
    """The share of each prompt's samples that hold the tokens."""
    return [float(np.mean([holds(text, tokens) for text in texts])) for texts in samples]


def holds(text: Tokens, tokens: Tokens) -> bool:
    """Whether the tokens stand somewhere in a text, in order and together."""
    return any(text[i : i + len(tokens)] == tokens for i in range(len(text) - len(tokens) + 1))


def attractor_table(
    chain: Chain, found: Sequence[Candidate], values: np.ndarray, templates: Sequence[str], search: Search
) -> xr.Dataset:
    """The probabilities (held-out prompt by candidate by stage) as a labelled dataset, the largest gain first."""
    groups = list(templates) or ["none"]
    values = values if len(values) else np.zeros((1, len(found), len(chain.stages)))
    mean = bootstrap(values, groups, seed=search.seed)
    gap = bootstrap(values - values[..., :1], groups, seed=search.seed)
    table = ("candidate", "stage")
    decode = chain.tuned.tokenizer.decode
    dataset = xr.Dataset(
        {
            "probability": (table, mean.mean),
            "probability_low": (table, mean.low),
            "probability_high": (table, mean.high),
            "difference": (table, gap.mean),
            "difference_low": (table, gap.low),
            "difference_high": (table, gap.high),
            "share_captured": (table, np.mean(values > 0.5, axis=0)),
            "confirmed": (table, ((mean.mean >= search.min_mass) & (gap.low > 0)).astype(np.int8)),
            "n_tokens": ("candidate", np.asarray([len(c.tokens) for c in found], dtype=np.int32)),
        },
        coords={
            "stage": list(chain.names),
            "text": ("candidate", np.asarray([decode(list(c.tokens)) for c in found], dtype=str)),
            "kind": ("candidate", np.asarray([c.kind for c in found], dtype=str)),
        },
    )
    best = np.argsort(-dataset["difference"].max("stage").values, kind="stable")
    return dataset.isel(candidate=best).assign_coords(candidate=np.arange(len(found)))
