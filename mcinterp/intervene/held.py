"""A patch held while the model writes: whether the trajectory leaves the attractor when one activation is another's.

At every step the donor reads the tokens written so far and its activation at the new token replaces the recipient's, so
the patch acts on each token that is written, and on what later tokens attend to.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Int

from mcinterp.batching import Batch, pad
from mcinterp.budget import halving
from mcinterp.capture import run_on
from mcinterp.chain import Chain, Stage
from mcinterp.completions import Decoding, choose
from mcinterp.divergence import entropy, log_probs, token_log_prob
from mcinterp.errors import InputError
from mcinterp.intervene.cells import Cell, Heads, Neurons, cells_of, request_for
from mcinterp.intervene.held_table import HeldTable
from mcinterp.intervene.holding import Hold, Row, Variant, edits_of_rows
from mcinterp.intervene.inputs import PromptsLike, as_sequences
from mcinterp.intervene.plan import Direction, Kind, directions_of
from mcinterp.intervene.sites import SiteName
from mcinterp.progress import Progress
from mcinterp.results import describe, with_provenance
from mcinterp.sequences import provenance

ROWS = 256


@halving
def generate_patched(
    chain: Chain,
    prompts: PromptsLike,
    *,
    sites: Sequence[SiteName] = ("resid_pre", "attn_out", "mlp_out"),
    layers: int | Sequence[int] | None = None,
    directions: Sequence[str] = ("base_to_tuned", "tuned_to_base"),
    decoding: Decoding = Decoding(),
    samples: int = 1,
    positions: str = "last",
    heads: Heads = None,
    neurons: Neurons = None,
    window: int = 1,
    donor: str = "same",
    controls: bool = True,
    seed: int = 0,
) -> xr.Dataset:
    """Let the recipient write with a patch held at every step, cell by cell.

    The donor reads the same tokens at every step. With `positions="last"` the patch begins at the last prompt token and
    holds for every token written; `all` patches the prompt too. Completions of given sequences are left aside.
    Trajectories of one prompt and sample draw the same random numbers, patched or not, and the unpatched ones are those
    of `mcinterp.completions.complete_many`.

    Returns:
        A dataset over `prompt, direction, site, layer` (and `head`), `sample` and `step`: `token_id` (-1 behind the
        end), `entropy` (nats) of the patched distribution, `next_log_prob` and `donor_log_prob` of the written token
        under it and under the donor; without `step`: `completion` (text), `left_at` (the first step that differs from
        the unpatched recipient's trajectory, missing where none does), `n_tokens`. The same with `_control` (`noop`:
        the recipient's own activations put back; `random`: a random step as long as the donor's), and `_recipient` for
        the unpatched runs.

    Raises:
        InputError: For sites, layers, heads or stages that do not exist, or positions other than `last` and `all`.
    """
    if positions not in ("last", "all"):
        raise InputError(f"got positions={positions!r} for a held patch; give last or all.")
    if donor not in ("same", "zero"):
        raise InputError(f"got donor={donor!r} for a held patch; give same or zero.")
    if samples < 1:
        raise InputError(f"got samples={samples}; give 1 or more.")
    sequences = as_sequences(chain, prompts)
    request = request_for(
        chain, sites, layers, "last", each_position=False, heads=heads, neurons=neurons, window=window
    )
    chosen = directions_of(chain, directions, same_run=donor == "same")
    cells = cells_of(chain.base, request, [None])
    variants = variants_of(donor, controls)
    names = [variant.name for variant in variants]
    table = HeldTable(chain, sequences, request, cells, chosen, names, samples, decoding.max_new_tokens)
    ids = sequences.prompts.token_ids
    runs = [(v, d) for v in range(len(variants)) for d in range(len(chosen))]
    with Progress(total=len(runs), desc="held patches", unit="run") as progress:
        for variant, number in runs:
            rows = [Row(c, p, s) for c in range(len(cells)) for p in range(len(sequences)) for s in range(samples)]
            clean = [Row(None, p, s) for p in range(len(sequences)) for s in range(samples)] if variant == 0 else []
            for group in groups_of(ids, [*clean, *rows], chain.alignment.context, decoding):
                written = write(chain, chosen[number], cells, group, ids, decoding, variants[variant], positions, seed)
                table.take(variant, number, group, written)
            progress.update()
    return with_provenance(
        describe(table.dataset()),
        analysis="generate_patched",
        held_from=positions,
        donor=donor,
        temperature=decoding.temperature,
        seed=decoding.seed,
        **provenance(chain, sequences),
    )


def variants_of(donor: str, controls: bool) -> list[Variant]:
    """The patch that was asked for, and its controls."""
    kind: Kind = "zero" if donor == "zero" else "stage"
    asked = Variant("asked", kind)
    return [asked, Variant("noop", "noop"), Variant("random", kind, random=True)] if controls else [asked]


def groups_of(
    ids: Sequence[Sequence[int]], rows: Sequence[Row], context: int, decoding: Decoding
) -> Iterator[list[Row]]:
    """Rows that are written together: as many steps each, near in length."""

    def steps(row: Row) -> int:
        return min(decoding.max_new_tokens, context - len(ids[row.prompt]))

    order = sorted(rows, key=lambda row: (-steps(row), -len(ids[row.prompt]), row.prompt))
    start = 0
    while start < len(order):
        group = [row for row in order[start : start + ROWS] if steps(row) == steps(order[start])]
        yield group
        start += len(group)


class Written(NamedTuple):
    """What a group of trajectories wrote, over row and step."""

    tokens: Int[torch.Tensor, "row step"]
    entropy: Float[torch.Tensor, "row step"]
    next_log_prob: Float[torch.Tensor, "row step"]
    donor_log_prob: Float[torch.Tensor, "row step"]


@torch.inference_mode()
def write(
    chain: Chain,
    direction: Direction,
    cells: Sequence[Cell],
    rows: Sequence[Row],
    ids: Sequence[Sequence[int]],
    decoding: Decoding,
    variant: Variant,
    positions: str,
    seed: int,
) -> Written:
    """Write a group of trajectories, donor and recipient step by step side by side.

    Raises `LookupError` where a hook did not fire.
    """
    recipient = chain.stages[direction.recipient]
    donor = recipient if variant.kind == "noop" else chain.stages[direction.donor]
    columns = slice(-1, None) if positions == "last" else slice(None)
    batch = pad([ids[row.prompt] for row in rows], side="left")
    hold = Hold(variant, rows, edits_of_rows(cells, rows), list(batch.lengths), columns, seed)
    streams = [np.random.default_rng((decoding.seed, decoding.sample + r.sample, r.prompt)) for r in rows]
    uniforms = torch.tensor(np.stack([stream.random(decoding.max_new_tokens) for stream in streams])).float()
    steps = min(decoding.max_new_tokens, chain.alignment.context - batch.tokens.shape[1])
    readings = list(step_by_step(recipient, donor, hold, batch, uniforms[:, :steps], decoding.temperature))
    empty = torch.empty(len(rows), 0)
    each = [torch.stack(values, dim=1) if values else empty for values in zip(*readings, strict=True)] or [empty] * 4
    return Written(each[0].long(), *each[1:])


def step_by_step(
    recipient: Stage, donor: Stage, hold: Hold, batch: Batch, uniforms: torch.Tensor, temperature: float
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]]:
    """At each step: the token chosen, the entropy it was chosen from, its log-probability, and the donor's for it."""
    entering, attention, caches = batch.tokens, batch.attention, [None, None]
    ended = torch.zeros(len(batch.indices), dtype=torch.bool)
    end = torch.tensor(sorted(recipient.end_tokens), dtype=torch.long)
    for step in range(uniforms.shape[1]):
        with donor.bridge.hooks(fwd_hooks=hold.keeping()):
            theirs, caches[0] = newest(donor, entering, attention, caches[0])
        hold.require(donor.name, hold.given)
        with recipient.bridge.hooks(fwd_hooks=hold.putting()):
            logits, caches[1] = newest(recipient, entering, attention, caches[1])
        hold.require(recipient.name, hold.applied)
        hold.advance()
        chosen = choose(logits, uniforms[:, step], temperature)
        own = log_probs(logits).cpu()
        yield chosen, entropy(own), token_log_prob(own, chosen), token_log_prob(log_probs(theirs).cpu(), chosen)
        ended |= torch.isin(chosen, end)
        if bool(ended.all()):
            return
        entering = chosen.unsqueeze(-1)
        attention = torch.cat([attention, torch.ones_like(entering)], dim=-1)


def newest(stage: Stage, tokens: torch.Tensor, attention: torch.Tensor, cache: Any) -> tuple[torch.Tensor, Any]:
    """Logits after the newest token of each row, and the cache behind it."""
    logits, cache = run_on(stage, tokens, attention, cache)
    return logits[:, -1, : stage.readout.vocabulary].float(), cache
