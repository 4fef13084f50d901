"""Samples of stages: what each writes after every prompt, and how likely each written token was to it and to the base.

Decoding is batched over a key-value cache, and sample k of a prompt draws the same random numbers in every stage, so
that stages with equal distributions write equal texts.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float

from mcinterp import divergence
from mcinterp.batching import Batch, batches
from mcinterp.capture import Point, affordable_tokens, capture
from mcinterp.chain import Chain, Stage
from mcinterp.completions import Decoding, complete_many
from mcinterp.errors import InputError
from mcinterp.progress import Progress
from mcinterp.rendering import RenderedPrompts
from mcinterp.results import describe, with_provenance
from mcinterp.scoring import LOGIT_BYTES, continuation_cells
from mcinterp.sequences import provenance, with_completions

Ids = Sequence[int]
Table = Float[np.ndarray, "sequence step"]
SAMPLING = Decoding(max_new_tokens=24, temperature=1.0)


def sample_stages(
    chain: Chain,
    prompts: RenderedPrompts,
    decoding: Decoding = SAMPLING,
    *,
    samples: int = 8,
    stages: Sequence[str] | None = None,
    scored: bool = True,
) -> xr.Dataset:
    """What stages write after every prompt.

    Over `stage, prompt, sample` (and `step`): `completion` (text), `n_tokens`, `ended` (an end token was written before
    the steps ran out), `token_id` (-1 behind the end), and where `scored` (nats, at temperature 1 whatever the
    decoding's): `written_log_prob` and `written_entropy` of the stage itself, and `base_log_prob` of the base on the
    same tokens; all missing behind the end. Raises `InputError` for an unknown stage or fewer than one sample.
    """
    if samples < 1:
        raise InputError(f"got samples={samples}; give 1 or more.")
    names = list(chain.names if stages is None else stages)
    pieces = [of_stage(chain, chain.stage(name), prompts, decoding, samples, scored) for name in names]
    dataset = xr.concat(pieces, dim="stage").assign_coords(
        stage=names,
        prompt=np.arange(len(prompts)),
        text=("prompt", list(prompts.texts)),
        template=("prompt", list(prompts.templates)),
        rendering=("prompt", list(prompts.renderings)),
        sample=np.arange(samples),
    )
    bare = with_completions(chain, prompts, [()] * len(prompts), "none")
    return with_provenance(
        describe(dataset), analysis="samples", temperature=decoding.temperature, seed=decoding.seed,
        max_new_tokens=decoding.max_new_tokens, **provenance(chain, bare),
    )  # fmt: skip


def of_stage(
    chain: Chain, stage: Stage, prompts: RenderedPrompts, decoding: Decoding, samples: int, scored: bool
) -> xr.Dataset:
    """The samples of one stage."""
    ids = prompts.token_ids
    written = complete_many(stage, ids, decoding, context=chain.alignment.context, samples=samples)
    flat = [completion for each in written for completion in each]
    steps = decoding.max_new_tokens
    tokens = np.full((len(flat), steps), -1, dtype=np.int32)
    for row, completion in enumerate(flat):
        tokens[row, : len(completion)] = completion
    shape = (len(ids), samples)
    room = np.repeat([min(steps, chain.alignment.context - len(each)) for each in ids], samples)
    lengths = np.asarray([len(completion) for completion in flat])
    texts = chain.tuned.tokenizer.batch_decode(flat, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    cells, steps_too = ("prompt", "sample"), ("prompt", "sample", "step")
    data: dict[str, Any] = {
        "completion": (cells, np.asarray(texts, dtype=str).reshape(shape)),
        "n_tokens": (cells, lengths.astype(np.int32).reshape(shape)),
        "ended": (cells, (lengths < room).reshape(shape)),
        "token_id": (steps_too, tokens.reshape(*shape, steps)),
    }
    if scored:
        before = [prompt for prompt in ids for _ in range(samples)]
        own, entropy = read_written(stage, before, flat, steps)
        base = own if stage is chain.base else read_written(chain.base, before, flat, steps)[0]
        named = {"written_log_prob": own, "written_entropy": entropy, "base_log_prob": base}
        data |= {name: (steps_too, each.reshape(*shape, steps).astype(np.float32)) for name, each in named.items()}
    return xr.Dataset(data)


def read_written(stage: Stage, prompts: Sequence[Ids], written: Sequence[Ids], steps: int) -> tuple[Table, Table]:
    """Log-probability of every written token under a stage, and the entropy of the distribution it came from."""
    found = np.full((len(written), steps), np.nan), np.full((len(written), steps), np.nan)
    there = [row for row, completion in enumerate(written) if len(completion)]
    sequences = [(*prompts[row], *written[row]) for row in there]
    listed = list(batches(sequences, max_tokens=affordable_tokens(stage, 1))) if there else []
    for batch in Progress(listed, desc=f"{stage.name} reads samples", unit="batch"):
        rows = [there[index] for index in batch.indices]
        lengths = [len(written[row]) for row in rows]
        values = read_batch(stage, batch, lengths)
        place = np.repeat(rows, lengths), np.concatenate([np.arange(length) for length in lengths])
        for table, value in zip(found, values, strict=True):
            table[place] = value
    return found


@torch.inference_mode()
def read_batch(stage: Stage, batch: Batch, lengths: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """The same for the last `lengths` tokens of each row of a right-padded batch, one value a token."""
    hook = Point(stage.n_layers - 1, "resid_post").hook
    residual = capture(stage, batch, [hook])[hook]
    row, column = continuation_cells(batch, lengths)
    tokens = batch.tokens[row, column]
    size = max(1, LOGIT_BYTES // (4 * stage.readout.vocabulary))
    log_probs, entropies = [], []
    for r, c, t in zip(row.split(size), column.split(size), tokens.split(size), strict=True):
        read = stage.readout.log_probs(residual[r.to(residual.device), (c - 1).to(residual.device)])
        log_probs.append(divergence.token_log_prob(read, t.to(read.device)).cpu())
        entropies.append(divergence.entropy(read).cpu())
    return torch.cat(log_probs).numpy(), torch.cat(entropies).numpy()
