"""How random the stages of a chain are where the right answer is a draw: exact distributions over whole supports.

From the post "Mysteries of mode collapse": asked for a number from 0 to 100, the base was nearly flat and the tuned
model gave 97, 42 or 33 10 to 70 % of the mass; a fair die fell on 6; an interpreter's prompt brought the flatness back
and a chat around it took it away again. Nothing here is sampled: see `mcinterp.behaviour.randomness.scores`.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import xarray as xr

from mcinterp.behaviour.randomness import measures
from mcinterp.behaviour.randomness.scores import Ends, Spelled, check_room, ending_tokens, spell, value_log_probs
from mcinterp.behaviour.randomness.support import Question, questions
from mcinterp.chain import Chain, Stage
from mcinterp.errors import InputError
from mcinterp.progress import Progress
from mcinterp.prompts import Prompts
from mcinterp.rendering import RenderedPrompts, Rendering
from mcinterp.results import describe, with_provenance
from mcinterp.sequences import provenance, with_completions
from mcinterp.statistics import spearman

DrawnBy = Literal["uniform", "own"]
CELLS = ("stage", "prompt")


def randomness(
    chain: Chain, prompts: Prompts, *, rendering: Rendering = "raw", draws: int = 100, top: int = 3
) -> xr.Dataset:
    """The exact distribution of every stage over the support of every prompt, and how random it is.

    Over `stage, prompt, value` (the union of all supports; missing where a value is not in the prompt's):
    `value_log_prob`, of the value as the whole answer (nats, all spellings together), and `value_share`, given that the
    answer is in the support. Over `stage, prompt`, of the shares: `value_entropy` (nats), `value_entropy_share`
    (H / log N), `uniform_kl` (nats), `uniform_total_variation`, `value_chi_square` (of `draws` draws), `favourite` and
    `favourite_share`; `off_support`, the mass of all other answers; against the base's shares `base_spearman` and
    `base_total_variation`; against the other prompts of the same frame and support `paraphrase_spearman` and
    `paraphrase_total_variation`. `favourites` over `choice` are the `top` values, best first. Prompts carry `frame`,
    `support`, `support_size` and `held_out`.

    Raises `InputError` for a prompt without `support` or `frame`, for fewer than one draw, and where an answer does not
    fit the context or the vocabulary.
    """
    if draws < 1 or top < 1:
        raise InputError(f"got draws={draws} and top={top}; give 1 or more of each.")
    asked, rendered = questions(prompts), render_once(chain, prompts, rendering)
    names = value_names(asked)
    found = value_table(chain, chain.stages, rendered, asked, names, "randomness")
    dataset = measured(found, chain.names, names, asked, draws, top)
    dataset = dataset.assign_coords(labels(rendered, asked))
    bare = with_completions(chain, rendered, [()] * len(rendered), "none")
    return with_provenance(
        describe(dataset), analysis="randomness", draws=draws, rendering=rendering, battery=prompts.source,
        **provenance(chain, bare),
    )  # fmt: skip


def render_once(chain: Chain, prompts: Prompts, rendering: str) -> RenderedPrompts:
    """Prompts by one rendering; `InputError` for both at once, which would be two questions a prompt."""
    if rendering == "both":
        raise InputError("got rendering 'both', and a question is asked in one way at a time; give raw, then chat.")
    return chain.render(prompts, rendering)


def value_names(asked: Sequence[Question]) -> list[str]:
    """The union of all supports: numbers in order, then words as they come."""
    every = list(dict.fromkeys(value for each in asked for value in each.support.values))
    return sorted((v for v in every if v.isdecimal()), key=int) + [v for v in every if not v.isdecimal()]


def value_table(
    chain: Chain,
    stages: Sequence[Stage],
    rendered: RenderedPrompts,
    asked: Sequence[Question],
    names: Sequence[str],
    what: str,
) -> np.ndarray:
    """log P of every value of `names` over stage and prompt, float64; missing where it is not in the support."""
    ends = endings(chain)
    spelled = [spelled_after(chain, rendered, index, question) for index, question in enumerate(asked)]
    columns = [[names.index(value) for value in question.support.values] for question in asked]
    table = np.full((len(stages), len(asked), len(names)), np.nan)
    places = [(s, p) for s in range(len(stages)) for p in range(len(asked))]
    for s, p in Progress(places, desc=what, unit="prompt"):
        table[s, p, columns[p]] = value_log_probs(stages[s], rendered.token_ids[p], spelled[p], ends).numpy()
    return table


def endings(chain: Chain) -> Ends:
    """The tokens that end a value, for all stages alike: the end tokens of any of them are among these."""
    end = frozenset[int]().union(*(stage.end_tokens for stage in chain.stages))
    return ending_tokens(chain.tuned.tokenizer, chain.alignment.vocabulary, end)


def spelled_after(chain: Chain, rendered: RenderedPrompts, index: int, question: Question) -> Spelled:
    """The token sequences of a question's values behind one rendered prompt, which fit in the context."""
    ids = rendered.token_ids[index]
    found = spell(chain.tuned.tokenizer, question, rendered.texts[index], ids, rendered.renderings[index])
    check_room(index, ids, found, chain.alignment.context)
    return found


def measured(
    log_probs: np.ndarray, stages: Sequence[str], names: Sequence[str], asked: Sequence[Question], draws: int, top: int
) -> xr.Dataset:
    """Every measure of the distributions over `stage, prompt, value`."""
    split = measures.conditional(log_probs)
    shares = split.shares
    best = measures.favourite(shares)
    groups = [(each.frame, each.support.name) for each in asked]
    between = [measures.between(stage, groups) for stage in shares]
    words = np.asarray(names, dtype=str)
    data: dict[str, Any] = {
        "value_entropy": measures.entropy(shares),
        "value_entropy_share": measures.entropy_share(shares),
        "uniform_kl": measures.kl_to_uniform(shares),
        "uniform_total_variation": measures.total_variation_to_uniform(shares),
        "value_chi_square": measures.chi_square(shares, draws),
        "favourite_share": np.take_along_axis(shares, best[..., None], axis=-1)[..., 0],
        "off_support": np.maximum(1.0 - split.on_support, 0.0),
        "base_spearman": np.asarray([list(map(spearman, stage, shares[0])) for stage in shares]),
        "base_total_variation": measures.total_variation(shares, np.broadcast_to(shares[:1], shares.shape)),
        "paraphrase_spearman": np.stack([order for order, _ in between]),
        "paraphrase_total_variation": np.stack([apart for _, apart in between]),
    }
    found: dict[str, tuple[tuple[str, ...], np.ndarray]] = {
        name: (CELLS, values.astype(np.float32)) for name, values in data.items()
    }
    found["favourite"] = (CELLS, words[best])
    found["favourites"] = ((*CELLS, "choice"), favourites(shares, words, top))
    found["value_log_prob"] = ((*CELLS, "value"), log_probs.astype(np.float32))
    found["value_share"] = ((*CELLS, "value"), shares.astype(np.float32))
    return xr.Dataset(found, coords={"stage": list(stages), "value": list(names)})


def favourites(shares: np.ndarray, words: np.ndarray, top: int) -> np.ndarray:
    """The values with the largest shares, best first; empty where the support has fewer."""
    order = np.argsort(-np.nan_to_num(shares, nan=-1.0), axis=-1, kind="stable")[..., :top]
    return np.where(np.isnan(np.take_along_axis(shares, order, axis=-1)), "", words[order])


def labels(rendered: RenderedPrompts, asked: Sequence[Question]) -> dict[str, Any]:
    """What every prompt is: its text and template, what it asks, and whether it is held out."""
    columns = {
        "text": list(rendered.texts),
        "template": list(rendered.templates),
        "rendering": list(rendered.renderings),
        "frame": [each.frame for each in asked],
        "support": [each.support.name for each in asked],
        "support_size": [len(each.support) for each in asked],
        "held_out": [each.held_out for each in asked],
    }
    return {"prompt": np.arange(len(asked)), **{name: ("prompt", column) for name, column in columns.items()}}
