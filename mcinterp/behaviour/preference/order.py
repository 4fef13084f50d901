"""Whether tuning changed the order that the base prefers tokens in, and what became of each rank.

Along the completion that a stage wrote itself, and along the base's own, the stage's next-token distribution is set
beside the base's on the same tokens: the rank under the base of the stage's most likely token (unshifted, marginal or
shifted: URIAL, Lin et al. 2023), the agreement of the two orders, and the change of log-probability by base rank.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
import torch
import xarray as xr

from mcinterp import divergence, sharpening
from mcinterp.behaviour.labels import held_out_of
from mcinterp.behaviour.preference import measures
from mcinterp.capture import Point
from mcinterp.chain import Chain, Stage
from mcinterp.completions import Decoding
from mcinterp.errors import InputError
from mcinterp.lens import LOGIT_BYTES, LogProbs, chunk_rows, residual_rows
from mcinterp.prompts import Prompts
from mcinterp.rendering import RenderedPrompts
from mcinterp.results import describe, with_provenance
from mcinterp.sequences import Sequences, provenance, teacher_force, with_completions

Along = Literal["own", "base"]
DIMS = ("stage", "along", "prompt", "position")
INTEGERS = ("rank_under_base", "shift_class")
ALONG: tuple[Along, ...] = ("own", "base")
GREEDY = Decoding(max_new_tokens=24)


def preference_order(
    chain: Chain,
    prompts: Prompts,
    decoding: Decoding = GREEDY,
    *,
    rendering: str = "raw",
    along: Sequence[Along] = ALONG,
    top: int = 10,
    max_bytes: int = LOGIT_BYTES,
) -> xr.Dataset:
    """Every later stage's order of the next tokens beside the base's, along completions.

    Over `stage` (all but the base)`, along` (`own`: the completion that the stage wrote; `base`: the base's)`, prompt,
    position` (0 predicts the first token of the completion, its last token what follows it; missing behind):
    `rank_under_base` and `shift_class` of the stage's most likely token (-1 where missing), `greedy_gap` (nats that it
    has less than the base's own under the base: where the base is nearly flat, a rank says little), `greedy_ends`
    (whether that token ends the text), `kendall_tau` and `top_k_jaccard` of the `top` tokens. Over `base_rank` (bins of
    ranks under the base) too: `log_prob_change` (nats, tuned minus base, mean over the bin's tokens), `mass_change` and
    `raised_share`. Prompts carry `genre` (empty where the battery has none) and `held_out`.

    Raises `InputError` for a chain of one stage, an unknown `along`, or `top` below 2.
    """
    check(chain, along, top)
    rendered = chain.render(prompts, rendering)
    written = {name: teacher_force(chain, rendered, decoding, by=name) for name in names_of(chain, along)}
    steps = 1 + decoding.max_new_tokens
    pieces = [
        xr.concat([read_along(chain, stage, text, steps, top, max_bytes) for text in texts], dim="along")
        for stage, texts in ((stage, texts_of(chain, stage, written, along)) for stage in chain.stages[1:])
    ]
    dataset = xr.concat(pieces, dim="stage").transpose(*DIMS, ...)
    dataset = dataset.assign_coords({**labels(chain, prompts, rendered, steps), "along": list(along)})
    bare = with_completions(chain, rendered, [()] * len(rendered), "none")
    return with_provenance(
        describe(dataset), analysis="preference_order", classes=sharpening.SHIFT_CLASSES, top=top,
        base=chain.base.name, rendering=rendering, battery=prompts.source, max_new_tokens=decoding.max_new_tokens,
        temperature=decoding.temperature, seed=decoding.seed,
        texts_sha256={name: sequences.hash for name, sequences in written.items()}, **provenance(chain, bare),
    )  # fmt: skip


def texts_of(chain: Chain, stage: Stage, written: Mapping[str, Sequences], along: Sequence[Along]) -> list[Sequences]:
    """The texts that one stage is read along."""
    return [written[stage.name if each == "own" else chain.base.name] for each in along]


def check(chain: Chain, along: Sequence[str], top: int) -> None:
    """Refuse what cannot be measured."""
    chain.require_two()
    unknown = [each for each in along if each not in ALONG]
    if unknown or not along:
        raise InputError(f"got along={list(along)}; give some of {', '.join(ALONG)}.")
    if top < 2:
        raise InputError(f"got top={top}, which leaves no two tokens whose order could differ; give 2 or more.")


def names_of(chain: Chain, along: Sequence[Along]) -> list[str]:
    """The stages whose completions are wanted."""
    own = list(chain.names[1:]) if "own" in along else []
    return [*([chain.base.name] if "base" in along else []), *own]


def labels(chain: Chain, prompts: Prompts, rendered: RenderedPrompts, steps: int) -> dict[str, object]:
    """Labels of stages, prompts and positions."""
    metadata = [prompts.items[index].metadata for index in rendered.prompt_index]
    return {
        "stage": list(chain.names[1:]),
        "prompt": np.arange(len(rendered)),
        "position": np.arange(steps),
        "text": ("prompt", list(rendered.texts)),
        "template": ("prompt", list(rendered.templates)),
        "rendering": ("prompt", list(rendered.renderings)),
        "genre": ("prompt", [str(each.get("genre", "")) for each in metadata]),
        "held_out": ("prompt", held_out_of(prompts, rendered)),
    }


@torch.inference_mode()
def read_along(chain: Chain, stage: Stage, sequences: Sequences, steps: int, top: int, max_bytes: int) -> xr.Dataset:
    """One stage beside the base along given completions, over `prompt, position` (and `base_rank`)."""
    pair = Chain((chain.base, stage), chain.alignment)
    bins = measures.rank_bins(chain.alignment.vocabulary)
    lengths = np.asarray([len(ids) for ids in sequences.prompts.token_ids])
    arrays: dict[str, np.ndarray] = {}
    for prompt, column, q, p in log_prob_rows(pair, sequences, max_bytes):
        for name, value in measure(q, p, chain.base.end_tokens | stage.end_tokens, bins, top).items():
            array = arrays.setdefault(name, empty(name, (len(sequences), steps, *value.shape[1:])))
            array[prompt, column - lengths[prompt] + 1] = value.cpu().numpy()
    dims = ("prompt", "position", "base_rank")
    data = {name: (dims[: value.ndim], value) for name, value in arrays.items()}
    return xr.Dataset(data, coords={"base_rank": measures.bin_names(bins)})


def log_prob_rows(
    pair: Chain, sequences: Sequences, max_bytes: int
) -> Iterator[tuple[np.ndarray, np.ndarray, LogProbs, LogProbs]]:
    """Prompt and column of rows of the completions, with the log-probabilities of the later stage and of the base."""
    point = Point(pair.base.n_layers - 1, "resid_post")
    where = pair.base.readout.weight.device
    for rows in residual_rows(pair, sequences, [point], "completion", "preference order"):
        for chunk in rows.chunks(chunk_rows(pair, max_bytes)):
            p, q = (
                stage.readout.log_probs(residual[0]).to(where)
                for stage, residual in zip(pair.stages, chunk.residual, strict=True)
            )
            yield chunk.prompt, chunk.column, q, p


def measure(q: LogProbs, p: LogProbs, end: frozenset[int], bins: measures.Bins, top: int) -> dict[str, torch.Tensor]:
    """Every measure of a stage `q` beside the base `p`, one value a row (and bin)."""
    greedy = q.argmax(dim=-1)
    rank = divergence.token_rank(p, greedy)
    return {
        "rank_under_base": rank,
        "shift_class": sharpening.shift_class(rank),
        "greedy_gap": p.max(dim=-1).values - divergence.token_log_prob(p, greedy),
        "greedy_ends": measures.is_end(greedy, end),
        "kendall_tau": sharpening.kendall_tau(q, p, top),
        "top_k_jaccard": sharpening.top_k_jaccard(q, p, top),
        **measures.by_base_rank(q, p, bins)._asdict(),
    }


def empty(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """An array of missing values: -1 for ranks and classes."""
    return np.full(shape, -1, np.int32) if name in INTEGERS else np.full(shape, np.nan, np.float32)
