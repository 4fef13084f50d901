"""Cross-model activation patching: put one checkpoint's activations into another's run and read off what changes.

`base_to_tuned` puts the base's activation into the tuned run: what undoes a collapse (necessity). `tuned_to_base` puts
the tuned one's into the base run: what brings it (sufficiency).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import xarray as xr

from mcinterp.budget import halving
from mcinterp.chain import Chain
from mcinterp.errors import InputError
from mcinterp.intervene.cells import Heads, Neurons, Request, request_for
from mcinterp.intervene.inputs import PromptsLike, as_sequences, donor_ids, reads_of, require_token
from mcinterp.intervene.metrics import OF_ONE_RUN, Metric, chosen_metrics
from mcinterp.intervene.places import PositionChoice
from mcinterp.intervene.plan import CONTROLS, DONORS, Direction, Plan, all_cells, directions_of, partners_of
from mcinterp.intervene.recovery import interaction_of, with_recovery
from mcinterp.intervene.running import in_nats, run_plan, verify_cells
from mcinterp.intervene.sites import SiteName
from mcinterp.intervene.table import Table
from mcinterp.rendering import token_strings
from mcinterp.results import describe, with_provenance, with_token_strings
from mcinterp.sequences import provenance

GIGABYTE = 2**30
BOTH = ("base_to_tuned", "tuned_to_base")
STANDARD = ("resid_pre", "attn_out", "mlp_out")


@halving
def patch(
    chain: Chain,
    prompts: PromptsLike,
    *,
    sites: Sequence[SiteName] = STANDARD,
    layers: int | Sequence[int] | None = None,
    positions: PositionChoice = "last",
    directions: Sequence[str] = BOTH,
    metrics: Sequence[str] | Mapping[str, Metric] | None = None,
    controls: bool = True,
    interaction: bool = True,
    each_position: bool = False,
    heads: Heads = None,
    neurons: Neurons = None,
    window: int = 1,
    donor: str = "same",
    donor_prompts: PromptsLike | None = None,
    read_at: int | Sequence[int] = 0,
    attractor: int | None = None,
    engine: str = "auto",
    verify: int = 0,
    max_bytes: int = GIGABYTE,
    seed: int = 0,
) -> xr.Dataset:
    """Patch every asked cell and read the next-token distribution of each patched run.

    A cell replaces the recipient's activation at a site, layer (or `window` of layers from it on), head and position by
    the donor's. Every value equals that of one full forward pass under hooks; see `engine` and `verify`.

    Args:
        chain: A pair or chain of checkpoints.
        prompts: Texts, prompts, rendered prompts, or teacher-forced sequences.
        sites: Names of `mcinterp.intervene.sites.SITES` or `kv`; a tuple inside is patched jointly.
        layers: Layers to patch, all by default.
        positions: `last`, `each`, `all`, `template`, `content`, a text inside the prompts, a number, several numbers or
            a slice, counted from the last prompt token (0). Several are patched together unless `each_position`.
        directions: `DONOR_to_RECIPIENT` with stage names; `base` is the first stage and `tuned` the last.
        metrics: Names of `mcinterp.intervene.metrics.METRICS`, or functions of a `Reading` by name.
        controls: Also run every cell with its own activation (`noop`), a random step as long as the donor's (`random`),
            and the donor stage on another prompt (`shuffled`).
        interaction: With both directions of a pair, also the 2 x 2 interaction over a boundary at every layer: all
            positions of the residual stream from one stage, the layers above from the other.
        heads: None patches all heads at once; `each`, or numbers, one at a time.
        neurons: Neurons of `mlp_post` to patch together, for every layer or by layer.
        donor: `same`: the donor stage on the same tokens (or `donor_prompts`, equally long); `mean`: its mean over the
            prompts at the same position; `zero`.
        read_at: Positions whose next-token distribution is read (0: after the prompt).
        attractor: The followed token id; by default, in every direction, the most likely token of the later stage at
            each read position.
        engine: `fast` runs all cells in one pass over the layers, `plain` one forward pass per cell; `auto` is fast
            unless the architecture cannot be taken apart, which is said once.
        verify: Run this many random cells the plain way too; their largest difference stands in the result.
        max_bytes: Memory that the hidden states of a batch may take; cells are split to fit.
        seed: Fixes the random donors and the cells that are verified.

    Returns:
        A dataset over `prompt, direction, site, layer` (and `head`, `position`, `read_at` where asked) with a float32
        variable a metric, `<metric>_control` with the axis `control`, `<metric>_donor` and `<metric>_recipient` for the
        unpatched ends, `<metric>_recovery` for built-in ones (missing where the ends are nearly equal, with the reason
        beside it), and `<metric>_interaction` over `prompt, pair, layer`. Attributes: `noise_floor` (nats), `engine`,
        `verified_cells`, `verified_difference` (nats).

    Raises:
        InputError: For anything that does not exist: sites, layers, heads, positions, stages, tokens, donor prompts of
            another length.
    """
    if donor not in DONORS:
        raise InputError(f"donor {donor!r} is unknown; give one of {', '.join(DONORS)}.")
    sequences = as_sequences(chain, prompts)
    request = request_for(
        chain, sites, layers, positions, each_position=each_position, heads=heads, neurons=neurons, window=window
    )
    others = None if donor_prompts is None else donor_ids(chain, sequences, donor_prompts)
    cells, places = all_cells(chain, sequences, request)
    plan = Plan(
        chain=chain,
        sequences=sequences,
        ids=[*sequences.ids, *(others or [])],
        directions=directions_of(chain, directions, same_run=donor == "same" and others is None),
        cells=cells,
        positions=places,
        variants=("asked", *(CONTROLS if controls else ())),
        reads=reads_of(sequences, read_at),
        request=request,
        donor=donor,
        partners=partners_of(sequences) if controls else {},
        seed=seed,
    )
    chosen, followed = chosen_metrics(metrics), require_token(chain, attractor)
    ran = run_plan(plan, chosen, followed, engine, max_bytes, "patching")
    dataset = with_recovery(labelled(ran.table), in_nats(chosen))
    dataset.attrs |= {"engine": ran.engine, "engine_reason": ran.reason, "noise_floor": ran.noise_floor}
    checked = verify_cells(plan, ran, chosen, followed, verify)
    dataset.attrs |= {"verified_cells": checked["cells"], "verified_difference": checked["largest_difference"]}
    if interaction:
        dataset = dataset.assign(interactions(plan, chosen, followed, ran.engine, max_bytes))
    return with_provenance(
        describe(dataset),
        analysis="patch",
        positions=str(positions),
        donor=donor,
        window=window,
        seed=seed,
        **provenance(chain, sequences),
    )


def interactions(
    plan: Plan, metrics: Mapping[str, Metric], attractor: int | None, engine: str, max_bytes: int
) -> dict[str, xr.DataArray]:
    """`<metric>_interaction` for metrics of one run, over the pairs of stages that are patched in both directions."""
    wanted = {name: metric for name, metric in metrics.items() if name in OF_ONE_RUN}
    pairs = both_ways(plan.directions)
    if not wanted or not pairs or len(plan.ids) > plan.n_prompts:
        return {}
    whole = Request(("resid_pre",), plan.request.layers, "all")
    cells, positions = all_cells(plan.chain, plan.sequences, whole)
    corners = replace(plan, request=whole, cells=cells, positions=positions, variants=("asked",), donor="same")
    ran = run_plan(corners, wanted, attractor, engine, max_bytes, "interaction")
    dataset, names = ran.table.dataset(), plan.chain.names
    labels = xr.DataArray([f"{names[f.donor]}|{names[f.recipient]}" for f, _ in pairs], dims="pair", name="pair")
    found = {}
    for name in wanted:
        each = [interaction_of(dataset, name, forth.name, back.name) for forth, back in pairs]
        found[f"{name}_interaction"] = xr.concat(each, dim=labels).transpose("prompt", "pair", "layer", ...)
    return found


def both_ways(directions: Sequence[Direction]) -> list[tuple[Direction, Direction]]:
    """Directions with their opposites, from the earlier stage to the later one first."""
    back = {(direction.recipient, direction.donor): direction for direction in directions}
    forth = [direction for direction in directions if direction.donor < direction.recipient]
    return [(d, back[(d.donor, d.recipient)]) for d in forth if (d.donor, d.recipient) in back]


def labelled(table: Table) -> xr.Dataset:
    """What a table holds, with the prompts' texts and tokens beside the numbers."""
    plan = table.plan
    dataset = table.dataset()
    prompts = plan.sequences.prompts
    texts = {"text": prompts.texts, "template": prompts.templates, "rendering": prompts.renderings}
    stages = {f"{end}_stage": ("direction", stage_names(plan, end)) for end in ("donor", "recipient")}
    dataset = dataset.assign_coords({name: ("prompt", list(values)) for name, values in texts.items()} | stages)
    ids = [dataset[name].values for name in dataset.data_vars if dataset[name].dtype == np.int32]
    return with_token_strings(dataset, lambda i: token_strings(plan.chain.tuned.tokenizer, [i])[0], *ids)


def stage_names(plan: Plan, end: Literal["donor", "recipient"]) -> list[str]:
    """The donor or recipient stage of every direction."""
    return [plan.chain.names[getattr(direction, end)] for direction in plan.directions]
