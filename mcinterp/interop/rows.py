"""The logit lens on residual streams that are there already, whoever made them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Bool, Float, Int

from mcinterp.capture import Point
from mcinterp.chain import Chain
from mcinterp.errors import InputError
from mcinterp.intervene.inputs import require_token
from mcinterp.lens import LOGIT_BYTES, ChunkOfRows, Lens, chunk_rows, follow, keep_read
from mcinterp.lens_table import LensTable
from mcinterp.rendering import RenderedPrompts, token_strings
from mcinterp.results import with_provenance
from mcinterp.sequences import Sequences, provenance, with_completions

Stream = Float[torch.Tensor, "batch column d_model"]
Tokens = Int[torch.Tensor, "batch column"]
Mask = Bool[torch.Tensor, "batch column"]


@dataclass(frozen=True)
class Given:
    """Tokens of a batch, which of them are no padding, and the residual streams of every stage at some points."""

    tokens: Tokens
    present: Mask
    points: tuple[Point, ...]
    streams: list[list[Stream]]


def read_streams(
    chain: Chain,
    given: Given,
    lenses: Sequence[Lens],
    *,
    prompt_lengths: Sequence[int] | None,
    attractor: int | None,
    top: int,
    source: str,
) -> xr.Dataset:
    """What `mcinterp.logit_lens` gives, from residual streams instead of forward passes; missing at other points.

    The first lens must read the last point as each stage's own distribution.
    """
    sequences = sequences_of(chain, given, prompt_lengths)
    table = LensTable(chain, sequences, [lens.name for lens in lenses])
    followed_token = require_token(chain, attractor)
    for chunk in rows_of(given).chunks(chunk_rows(chain, LOGIT_BYTES)):
        followed = follow(chunk, lenses[0], given.points[-1], followed_token)
        keep_read(table, chunk, lenses, given.points, followed, top)
    return with_provenance(
        table.dataset(), analysis="logit_lens", positions="all", source=source, **provenance(chain, sequences)
    )


def rows_of(given: Given) -> ChunkOfRows:
    """The rows that hold a token; columns count from each sequence's first token, wherever its padding lies."""
    prompt, place = np.nonzero(given.present.numpy())
    column = (given.present.numpy().cumsum(axis=1) - 1)[prompt, place]
    ids = given.tokens.numpy()[prompt, place]
    following = np.full_like(ids, -1)
    goes_on = prompt[:-1] == prompt[1:]
    following[:-1][goes_on] = ids[1:][goes_on]
    residual = [[stream.detach()[given.present.to(stream.device)] for stream in stage] for stage in given.streams]
    return ChunkOfRows(residual, prompt, column, following)


def sequences_of(chain: Chain, given: Given, prompt_lengths: Sequence[int] | None) -> Sequences:
    """The tokens as prompts, and what stands behind `prompt_lengths` of them as completions."""
    ids = [row[there].tolist() for row, there in zip(given.tokens, given.present, strict=True)]
    lengths = [len(each) for each in ids] if prompt_lengths is None else [int(n) for n in prompt_lengths]
    if len(lengths) != len(ids) or any(not 0 < n <= len(each) for n, each in zip(lengths, ids, strict=True)):
        raise InputError(
            f"got prompt lengths {lengths} for sequences of {[len(each) for each in ids]} tokens; give a length for "
            f"each, from 1 to its tokens."
        )
    prompts = [each[:n] for each, n in zip(ids, lengths, strict=True)]
    strings = [token_strings(chain.tuned.tokenizer, each) for each in prompts]
    numbers = tuple(range(len(prompts)))
    rendered = RenderedPrompts(
        texts=tuple("".join(each) for each in strings),
        token_ids=tuple(tuple(each) for each in prompts),
        tokens=tuple(tuple(each) for each in strings),
        prompt_index=numbers,
        renderings=("raw",) * len(prompts),
        templates=tuple(f"prompt {number}" for number in numbers),
        frames=((),) * len(prompts),
    )
    behind = [each[n:] for each, n in zip(ids, lengths, strict=True)]
    return with_completions(chain, rendered, behind, "given" if any(behind) else "none")


def require_tokens(tokens: Any, attention_mask: Any, vocabulary: int) -> tuple[Tokens, Mask]:
    """Token ids of a batch, and which of them are no padding; a single sequence is a batch of one."""
    ids = torch.as_tensor(tokens).detach().cpu()
    ids = ids.unsqueeze(0) if ids.ndim == 1 else ids
    if ids.ndim != 2 or not ids.numel() or ids.dtype not in (torch.int64, torch.int32):
        raise InputError(
            f"got tokens of shape {tuple(ids.shape)} and type {ids.dtype}; give whole numbers, batch by column."
        )
    present = torch.ones_like(ids, dtype=torch.bool)
    if attention_mask is not None:
        present = torch.as_tensor(attention_mask).detach().cpu().bool().reshape(-1, ids.shape[-1])
        if present.shape != ids.shape:
            raise InputError(
                f"the mask has shape {tuple(present.shape)} and the tokens {tuple(ids.shape)}; give one of equal shape."
            )
    if not bool(present.any(dim=1).all()):
        raise InputError("a sequence is all padding; leave it out.")
    if int(ids[present].min()) < 0 or int(ids[present].max()) >= vocabulary:
        raise InputError(f"a token id is none below {vocabulary}; give the tokens that the model was run on.")
    return ids.long(), present


def by_stage(what: str, given: Any, names: Sequence[str]) -> list[Any]:
    """One value for each stage: of a mapping by name, else the single one."""
    if not isinstance(given, Mapping) or set(given) != set(names):
        there = sorted(map(str, given)) if isinstance(given, Mapping) else type(given).__name__
        raise InputError(f"got {what} for {there} and the stages are {', '.join(names)}; give one for each by name.")
    return [given[name] for name in names]
