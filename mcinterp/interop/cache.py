"""The logit lens of activations that TransformerLens' `run_with_cache` has kept."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
import xarray as xr
from transformer_lens.model_bridge import TransformerBridge

from mcinterp.capture import Point, residual_points
from mcinterp.chain import Chain, Stage
from mcinterp.errors import InputError
from mcinterp.interop.models import chain_from_models
from mcinterp.interop.rows import Given, Mask, Stream, Tokens, by_stage, read_streams, require_tokens
from mcinterp.lens import common_lens, own_lens
from mcinterp.readout import assert_reads_like_the_model

TOKENS = "embed.hook_in"
ALONE = "model"


def logit_lens_of_cache(
    cache: Any,
    bridge: Any,
    tokens: Any = None,
    *,
    attention_mask: Any = None,
    prompt_lengths: Sequence[int] | None = None,
    logits: Any = None,
    attractor: int | None = None,
    top: int = 5,
) -> xr.Dataset:
    """Entropy, top tokens, ranks and the rest of the logit lens, from a cache of `bridge.run_with_cache(tokens)`.

    Args:
        cache: An `ActivationCache` (or its dictionary), or a mapping from stage names to caches on the same tokens,
            base first: then also the divergences between the stages.
        bridge: The bridge that filled it, or a mapping from the same names.
        tokens: The token ids, batch by column; by default those that the cache holds at `embed.hook_in`.
        attention_mask: 1 where a token is no padding, as it was given to the model; all by default.
        prompt_lengths: Tokens of each prompt where a completion stands behind it; all by default.
        logits: The logits of the same run (by stage for several), to prove that the cache is the bridge's; optional.
        attractor: The followed token id; by default, at each position, the last stage's most likely token.
        top: How many of the most likely tokens are kept.

    Returns:
        The dataset of `mcinterp.logit_lens`, equal to it on the same tokens. Points of the residual stream that the
        cache lacks (`names_filter`) are missing; the last `resid_post` must be there.

    Raises:
        InputError: For a cache of another bridge, other tokens or without the last residual stream, processed weights,
            or stages that cannot be compared.
    """
    several = isinstance(bridge, Mapping)
    bridges = dict(bridge) if several else {ALONE: bridge}
    caches = by_stage("caches", cache if several else {ALONE: cache}, list(bridges))
    chain = chain_from_models(bridges, tokenizer={name: tokenizer_of(name, each) for name, each in bridges.items()})
    for stage, each in zip(chain.stages, caches, strict=True):
        require_own(stage, each)
    ids, present = require_tokens(tokens_in(caches, tokens), attention_mask, chain.alignment.vocabulary)
    given = given_by(chain, caches, ids, present)
    if logits is not None:
        for number, each in enumerate(by_stage("logits", logits if several else {ALONE: logits}, list(bridges))):
            prove(chain.stages[number], given.streams[number][-1], each, present)
    return read_streams(
        chain,
        given,
        (own_lens(chain), common_lens(chain)),
        prompt_lengths=prompt_lengths,
        attractor=attractor,
        top=top,
        source="ActivationCache",
    )


def tokenizer_of(name: str, bridge: Any) -> Any:
    """The tokenizer that a bridge holds: good enough for showing tokens, though its settings are changed."""
    if not isinstance(bridge, TransformerBridge):
        raise InputError(f"stage {name!r} is a {type(bridge).__name__}; give the TransformerBridge that was run.")
    return bridge.tokenizer


def require_own(stage: Stage, cache: Any) -> None:
    """Refuse what is no cache, or the cache of another bridge."""
    if not hasattr(cache, "items"):
        raise InputError(
            f"stage {stage.name!r} has a {type(cache).__name__} as its cache; give what run_with_cache returns second."
        )
    model = getattr(cache, "model", None)
    if model is not None and model is not stage.bridge:
        raise InputError(f"the cache of stage {stage.name!r} was filled by another bridge; give that one with it.")


def entries(cache: Any) -> dict[str, torch.Tensor]:
    """Activations by full hook name, with the batch first."""
    found = dict(cache.items())
    batched = getattr(cache, "has_batch_dim", True)
    return found if batched else {name: value.unsqueeze(0) for name, value in found.items()}


def tokens_in(caches: Sequence[Any], tokens: Any) -> Any:
    """The tokens that were given, or those that the caches hold; refused where there are none, or different ones."""
    kept = [entries(cache).get(TOKENS) for cache in caches]
    known = [each.cpu() for each in kept if each is not None]
    if tokens is None and not known:
        raise InputError(f"the cache does not hold its tokens ({TOKENS}); give tokens=... as they were run.")
    ids = known[0] if tokens is None else torch.as_tensor(tokens).detach().cpu()
    for each in known:
        if not torch.equal(each.reshape(-1), ids.reshape(-1).to(each.dtype)):
            raise InputError("the cache was filled on other tokens than those given, or than the other stage's.")
    return ids


def given_by(chain: Chain, caches: Sequence[Any], ids: Tokens, present: Mask) -> Given:
    """The residual streams in all caches, at the points that every one has."""
    found = [dict(streams_in(stage, entries(cache))) for stage, cache in zip(chain.stages, caches, strict=True)]
    points = tuple(point for point in residual_points(chain.base) if all(point in each for each in found))
    last = Point(chain.base.n_layers - 1, "resid_post")
    if last not in points:
        raise InputError(f"the cache lacks {last.hook}, which everything is compared with; keep it in names_filter.")
    wanted = (*ids.shape, int(chain.base.bridge.cfg.d_model))
    for stage, each in zip(chain.stages, found, strict=True):
        odd = next((point for point in points if tuple(each[point].shape) != wanted), None)
        if odd is not None:
            raise InputError(
                f"stage {stage.name!r}: {odd.hook} in the cache has shape {tuple(each[odd].shape)} and the tokens want "
                f"{wanted}; give the cache of all positions of these tokens."
            )
    return Given(ids, present, points, [[each[point] for point in points] for each in found])


def streams_in(stage: Stage, cache: Mapping[str, torch.Tensor]) -> Iterator[tuple[Point, Stream]]:
    """The points of a stage's residual stream that a cache holds; the end of a layer is the beginning of the next."""
    for point in residual_points(stage):
        after = Point(point.layer + 1, "resid_pre").hook if point.site == "resid_post" else point.hook
        kept = cache.get(point.hook, cache.get(after))
        if kept is not None:
            yield point, kept


@torch.inference_mode()
def prove(stage: Stage, residual: Stream, logits: Any, present: Mask) -> None:
    """Refuse a cache that does not read as the logits of the run."""
    values = torch.as_tensor(logits)
    if tuple(values.shape[:2]) != tuple(present.shape):
        raise InputError(
            f"stage {stage.name!r}: logits have shape {tuple(values.shape)} and the tokens {tuple(present.shape)}; "
            f"give the logits of all positions."
        )
    rows, read = residual[present.to(residual.device)], values[present.to(values.device)]
    assert_reads_like_the_model(stage.name, stage.readout, rows, read, stage.dtype)
