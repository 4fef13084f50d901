"""Canned answers: "Are X real?" over many nouns and wordings, and what collapses on which of them.

From the post "Mysteries of mode collapse": asked "Are bugs real?", the tuned model gave nearly the same answer every
time, most of its tokens above 99 %; "people" and "birds" collapsed and "bananas" did not, perhaps because they are less
likely words there. A later count of first tokens found a third of the probability on the canned answer, not nine
tenths, and made the model write its line breaks first: as is done here.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import numpy as np
import xarray as xr

from mcinterp.behaviour.canned.nouns import noun_surprise, nouns_of
from mcinterp.behaviour.canned.openings import Tokens, canned_opening, without_formatting
from mcinterp.behaviour.labels import held_out_of
from mcinterp.behaviour.multiverse.growing import Growth, grow
from mcinterp.behaviour.multiverse.measures import standing
from mcinterp.chain import Chain
from mcinterp.completions import Decoding, complete
from mcinterp.errors import InputError
from mcinterp.prompts import Prompts
from mcinterp.rendering import RenderedPrompts, token_strings
from mcinterp.results import describe, with_provenance
from mcinterp.samples import sample_stages
from mcinterp.scoring import continuation_log_probs
from mcinterp.sequences import provenance, with_completions

SURE = 0.99
LEAST = 0.01
MOST_FORMATTING = 4
DECODING = Decoding(max_new_tokens=32, temperature=1.0)
CELLS = ("stage", "prompt")
Ids = Sequence[int]


def canned(
    chain: Chain,
    prompts: Prompts,
    decoding: Decoding = DECODING,
    *,
    rendering: str = "raw",
    samples: int = 4,
    opening: str | None = None,
    lengths: int = 3,
    choices: int = 8,
) -> xr.Dataset:
    """How canned every stage's answers are. Prompts carry a `noun` (any string in them), maybe `kind`, `held_out` and
    `wording` (a name for wordings that are to be told apart, such as those of a paraphrase).

    Over `stage, prompt`: `sure_share`, written tokens with a probability above 0.99 (temperature 1, end left out);
    `distinct` texts among the samples; `opening_log_prob` (nats, exact) of the canned opening, `opening` in the
    provenance: the one given, else the sentence that gained most over the base in samples of prompts not held out; and
    `formatting_log_prob` of the white space that the last stage's greedy answer begins with (`formatting`), written by
    all stages before openings are read. Over `step` too: `sample_entropy` and `sure_step_share`, means over samples.
    `completion` are the samples. Over `stage, prompt, length, choice`: `start_log_prob` (nats, exact) of the likeliest
    `choices` first 1 to `lengths` tokens behind the formatting, `start` as text. Over `prompt`: `noun_surprise` (nats)
    and `noun_tokens`.

    Raises:
        InputError: for a prompt without its noun, an opening without a token, or fewer than one sample, length or
            choice.
    """
    if min(lengths, choices) < 1:
        raise InputError(f"got lengths={lengths} and choices={choices}; give 1 or more of each.")
    nouns = nouns_of(prompts)
    rendered = chain.render(prompts, rendering)
    labels = coordinates(chain, prompts, rendered, nouns)
    written = sample_stages(chain, rendered, decoding, samples=samples)
    forced = formatting(chain, rendered)
    behind = [(*ids, *white) for ids, white in zip(rendered.token_ids, forced, strict=True)]
    tokens = found_opening(chain, written, labels["held_out"][1]) if opening is None else encoded(chain, opening)
    surprise, n_tokens = noun_surprise(chain.base, rendered, labels["noun"][1])
    opened = exact(chain, behind, [tokens] * len(behind))
    data = {
        **of_samples(written),
        "formatting_log_prob": (CELLS, exact(chain, rendered.token_ids, forced)),
        "opening_log_prob": (CELLS, opened if tokens else np.full_like(opened, np.nan)),
        **starts(chain, behind, lengths, choices),
        "noun_surprise": ("prompt", surprise),
        "noun_tokens": ("prompt", n_tokens),
    }
    white = [decoded(chain, each) for each in forced]
    dataset = xr.Dataset(data, coords={**labels, "formatting": ("prompt", white)})
    bare = with_completions(chain, rendered, [()] * len(rendered), "none")
    how = {"temperature": decoding.temperature, "seed": decoding.seed, "max_new_tokens": decoding.max_new_tokens}
    return with_provenance(
        describe(dataset), analysis="canned", opening=decoded(chain, tokens), opening_given=opening is not None,
        samples=samples, battery=prompts.source, **how, **provenance(chain, bare),
    )  # fmt: skip


def coordinates(chain: Chain, prompts: Prompts, rendered: RenderedPrompts, nouns: Sequence[str]) -> dict[str, Any]:
    """Labels of stages and prompts."""
    items = [prompts.items[index] for index in rendered.prompt_index]
    return {
        "stage": list(chain.names),
        "prompt": np.arange(len(rendered)),
        "text": ("prompt", list(rendered.texts)),
        "template": ("prompt", list(rendered.templates)),
        "noun": ("prompt", [nouns[index] for index in rendered.prompt_index]),
        "kind": ("prompt", [str(item.metadata.get("kind", "all")) for item in items]),
        "wording": ("prompt", [str(item.metadata.get("wording", "all")) for item in items]),
        "held_out": ("prompt", held_out_of(prompts, rendered)),
    }


def of_samples(written: xr.Dataset) -> dict[str, Any]:
    """What samples say: sure tokens, different texts, entropy along them, and the texts."""
    texts = written["completion"].transpose(*CELLS, "sample").values
    counts = [len(set(texts[cell].tolist())) / texts.shape[2] for cell in np.ndindex(*texts.shape[:2])]
    own, entropy = (
        written[name].transpose(*CELLS, "sample", "step").values for name in ("written_log_prob", "written_entropy")
    )
    sure = np.where(np.isnan(own), np.nan, own > np.log(SURE))
    return {
        "sure_share": (CELLS, mean(sure, axis=(2, 3))),
        "sure_step_share": ((*CELLS, "step"), mean(sure, axis=2)),
        "distinct": (CELLS, np.asarray(counts, dtype=np.float32).reshape(texts.shape[:2])),
        "sample_entropy": ((*CELLS, "step"), mean(entropy, axis=2)),
        "completion": ((*CELLS, "sample"), texts),
    }


def mean(values: np.ndarray, axis: int | tuple[int, ...]) -> np.ndarray:
    """Mean along axes over what is there; missing where nothing is."""
    present = ~np.isnan(values)
    count, total = present.sum(axis=axis), np.where(present, values, 0.0).sum(axis=axis)
    return np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0).astype(np.float32)


def formatting(chain: Chain, rendered: RenderedPrompts) -> list[Tokens]:
    """The white space that the last stage's greedy answer to every prompt begins with, a few tokens at most."""
    context = chain.alignment.context
    greedy = complete(chain.tuned, rendered.token_ids, Decoding(MOST_FORMATTING), context=context)
    return [text[: len(text) - len(without_formatting(text, strings(chain)))] for text in greedy]


def strings(chain: Chain) -> Callable[[int], str]:
    """Tokens as text, each looked up once."""
    return cache(lambda token: token_strings(chain.tuned.tokenizer, [token])[0])


def decoded(chain: Chain, tokens: Ids) -> str:
    """Tokens as text, leading spaces kept."""
    return "".join(token_strings(chain.tuned.tokenizer, tokens))


def encoded(chain: Chain, text: str) -> Tokens:
    """The tokens of an opening on its own."""
    tokens = tuple(chain.tuned.tokenizer(text, add_special_tokens=False).input_ids)
    if not tokens:
        raise InputError(f"opening {text!r} has no token; give some text, or none to have it found.")
    return tokens


def found_opening(chain: Chain, written: xr.Dataset, held_out: Sequence[bool]) -> Tokens:
    """The canned opening of the stage whose samples have one most, found on the prompts that are not held out.

    On all of them where all or none are held out.
    """
    chosen = np.flatnonzero(~np.asarray(held_out)) if not all(held_out) else np.arange(len(held_out))
    ids = written["token_id"].transpose(*CELLS, "sample", "step").values[:, chosen]
    text, look = partial(decoded, chain), strings(chain)

    def texts(rows: np.ndarray) -> list[Tokens]:
        return [without_formatting(tuple(row[row >= 0].tolist()), look) for row in rows]

    samples = [[texts(prompt) for prompt in stage] for stage in ids]
    found = [canned_opening(samples[0], stage, text) for stage in samples[1:]]
    return max(found, key=lambda each: each[1])[0] if found else ()


def exact(chain: Chain, before: Sequence[Ids], written: Sequence[Ids]) -> np.ndarray:
    """log P(written | before) under every stage, exact: 0 for nothing written, missing where it does not fit."""
    found = np.zeros((len(chain.stages), len(before)), dtype=np.float32)
    lengths = np.asarray([len(ids) + len(more) for ids, more in zip(before, written, strict=True)])
    found[:, lengths > chain.alignment.context] = np.nan
    rows = [i for i in range(len(before)) if len(written[i]) and lengths[i] <= chain.alignment.context]
    for number, stage in enumerate(chain.stages if rows else ()):
        found[number, rows] = continuation_log_probs(stage, [before[i] for i in rows], [written[i] for i in rows])
    return found


def starts(chain: Chain, before: Sequence[Ids], lengths: int, choices: int) -> dict[str, Any]:
    """The likeliest first tokens after every prompt: those that some stage gives 1 % or more, the likeliest first."""
    shape = (len(before), lengths, choices)
    text = np.full(shape, "", dtype=object)
    log_prob = np.full((len(chain.stages), *shape), np.nan, dtype=np.float32)
    for prompt, tree in enumerate(grow(chain, before, Growth(LEAST, lengths))):
        for length in range(1, lengths + 1):
            nodes = np.flatnonzero(standing(tree, length))
            best = nodes[np.argsort(-tree.log_prob[:, nodes].max(axis=0), kind="stable")][:choices]
            text[prompt, length - 1, : len(best)] = [decoded(chain, tree.tokens(node)) for node in best.tolist()]
            log_prob[:, prompt, length - 1, : len(best)] = tree.log_prob[:, best]
    places = ("prompt", "length", "choice")
    return {"start": (places, text.astype(str)), "start_log_prob": (("stage", *places), log_prob)}
