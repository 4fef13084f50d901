"""Attractors across prompts: continuations that the tuned stage gives to many prompts and the base does not.

Candidates are found on one half of the templates and confirmed on the other, so that a continuation that merely fits
the prompts it was found on is not called an attractor.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from mcinterp.chain import Chain, Stage
from mcinterp.completions import Decoding, complete
from mcinterp.prompts import RenderedPrompts
from mcinterp.results import with_provenance
from mcinterp.scoring import continuation_log_probs
from mcinterp.statistics import bootstrap

Continuation = tuple[int, ...]


@dataclass(frozen=True)
class Search:
    """What counts as a candidate, and what confirms one.

    A candidate is written after at least `min_share` of the discovery prompts (and two of them), in its greedy
    completion or one of `samples` at temperature 1, as one of its first `depth` tokens' prefixes. It is confirmed when
    its mean probability on held-out prompts is at least `min_mass` and the interval of tuned minus base is above 0.
    """

    samples: int = 2
    depth: int = 12
    candidates: int = 12
    min_share: float = 0.05
    min_mass: float = 0.1
    seed: int = 0


def halves(templates: Sequence[str], seed: int) -> tuple[list[int], list[int]]:
    """Prompt indices of the discovery half and the held-out half; a template is never in both."""
    names = list(dict.fromkeys(templates))
    chosen = set(np.random.default_rng(seed).permutation(len(names))[: (len(names) + 1) // 2].tolist())
    discovery = [i for i, name in enumerate(templates) if names.index(name) in chosen]
    return discovery, [i for i in range(len(templates)) if i not in set(discovery)]


def find_attractors(chain: Chain, prompts: RenderedPrompts, search: Search = Search()) -> xr.Dataset:
    """Continuations of one token and more whose probability is high over many prompts after tuning, and was not before.

    Over `candidate` and `stage`: the exact mean probability on `discovery` and on `held_out` prompts with its interval
    over templates; over `candidate`: the text, its length in tokens, tuned minus base on the held-out prompts with its
    interval, the share of held-out prompts that give it more than half their mass, and `confirmed`. With a single
    template nothing can be held out and the dataset is empty.
    """
    discovery, held_out = halves(prompts.templates, search.seed)
    candidates = written_candidates(chain, [prompts.token_ids[i] for i in discovery], search) if held_out else []
    scores = np.stack(
        [probabilities(stage, prompts.token_ids, candidates, chain.alignment.context) for stage in chain.stages]
    )
    return with_provenance(
        attractor_table(chain, prompts, candidates, scores, discovery, held_out, search),
        analysis="attractors",
        search=vars(search),
        checkpoints=[stage.checkpoint.provenance() for stage in chain.stages],
    )


def written_candidates(chain: Chain, prompts: Sequence[Sequence[int]], search: Search) -> list[Continuation]:
    """Prefixes that recur in what the tuned stage writes, the most common first, longest of equals only."""
    decodings = [Decoding(search.depth)]
    decodings += [Decoding(search.depth, temperature=1.0, seed=search.seed, sample=n) for n in range(search.samples)]
    written = [complete(chain.tuned, prompts, decoding, context=chain.alignment.context) for decoding in decodings]
    counts: Counter[Continuation] = Counter()
    for completions in zip(*written, strict=True):
        counts.update({each[:length] for each in completions for length in range(1, len(each) + 1)})
    least = max(2, search.min_share * len(prompts))
    recurring = {prefix: count for prefix, count in counts.items() if count >= least}
    maximal = [prefix for prefix in recurring if not has_common_extension(prefix, recurring)]
    return sorted(maximal, key=lambda prefix: (-recurring[prefix], -len(prefix), prefix))[: search.candidates]


def has_common_extension(prefix: Continuation, counts: dict[Continuation, int]) -> bool:
    """Whether a longer candidate begins with this one and is nearly as common (nine in ten)."""
    size = len(prefix) + 1
    return any(len(each) == size and each[:-1] == prefix and counts[each] >= 0.9 * counts[prefix] for each in counts)


def probabilities(
    stage: Stage, prompts: Sequence[Sequence[int]], candidates: Sequence[Continuation], context: int
) -> np.ndarray:
    """P(candidate | prompt) for every candidate and prompt; missing where both do not fit the context."""
    values = np.full((len(candidates), len(prompts)), np.nan)
    cells = [
        (c, p)
        for c in range(len(candidates))
        for p in range(len(prompts))
        if len(prompts[p]) + len(candidates[c]) <= context
    ]
    if cells:
        scores = continuation_log_probs(stage, [prompts[p] for _, p in cells], [candidates[c] for c, _ in cells])
        values[tuple(np.asarray(cells).T)] = scores.exp().numpy()
    return values


def attractor_table(
    chain: Chain,
    prompts: RenderedPrompts,
    candidates: Sequence[Continuation],
    scores: np.ndarray,
    discovery: list[int],
    held_out: list[int],
    search: Search,
) -> xr.Dataset:
    """The scores of all candidates as a labelled dataset."""
    by_prompt = scores.transpose(2, 1, 0)
    groups = [prompts.templates[i] for i in held_out]
    held = by_prompt[held_out]
    if not candidates:
        held, groups = np.zeros((1, 0, len(chain.stages))), ["none"]
    mean = bootstrap(held, groups, seed=search.seed)
    gap = bootstrap(held[..., -1] - held[..., 0], groups, seed=search.seed)
    confirmed = (mean.mean[..., -1] >= search.min_mass) & (gap.low > 0)
    decode = chain.tuned.tokenizer.decode
    table = ("candidate", "stage")
    dataset = xr.Dataset(
        {
            "probability": (table, mean.mean),
            "probability_low": (table, mean.low),
            "probability_high": (table, mean.high),
            "probability_discovery": (table, by_prompt[discovery].mean(axis=0)),
            "difference": ("candidate", gap.mean),
            "difference_low": ("candidate", gap.low),
            "difference_high": ("candidate", gap.high),
            "share_captured": ("candidate", np.mean(held[..., -1] > 0.5, axis=0)),
            "n_tokens": ("candidate", np.asarray([len(each) for each in candidates], dtype=np.int32)),
            "confirmed": ("candidate", confirmed.astype(np.int8)),
        },
        coords={
            "stage": list(chain.names),
            "candidate": np.arange(len(candidates)),
            "continuation": ("candidate", np.asarray([decode(list(each)) for each in candidates], dtype=str)),
        },
    )
    dataset.attrs.update(n_discovery=len(discovery), n_held_out=len(held_out))
    return dataset.sortby("difference", ascending=False).assign_coords(candidate=np.arange(len(candidates)))
