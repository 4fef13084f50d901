"""Dose and response of a direction: add it to one stage, take it out of the other, beside random directions."""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import torch
import xarray as xr

from mcinterp.budget import halving
from mcinterp.chain import Chain, Stage
from mcinterp.direction.doses import ENDS, STEERED, Along, Rows, Steering, Variant, require_steering
from mcinterp.divergence import Followed
from mcinterp.growth import (
    Measured,
    followed,
    grown_residuals,
    last_residuals,
    measured,
    prefixes,
    rows_at_once,
)
from mcinterp.intervene.inputs import PromptsLike, as_sequences, require_token
from mcinterp.intervene.metrics import OF_ONE_RUN
from mcinterp.intervene.sites import hook_name
from mcinterp.progress import Progress
from mcinterp.rendering import token_strings
from mcinterp.results import describe, with_provenance, with_token_strings
from mcinterp.sequences import provenance

COEFFICIENTS = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0)
KEPT = (*OF_ONE_RUN, "top_token")
AXES = ("prompt", "operation", "coefficient", "control")


@halving
def steer(
    chain: Chain,
    prompts: PromptsLike,
    direction: xr.Dataset,
    *,
    coefficients: Sequence[float | int] = COEFFICIENTS,
    operations: Sequence[str] = tuple(STEERED),
    positions: Literal["last", "all"] = "last",
    split: bool = True,
    draws: int = 5,
    attractor: int | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """Steer every prompt by a direction at several doses and read the next-token distribution.

    `add` puts c times the direction into the stage that it starts from (the base); `ablate` takes c times the component
    along it out of the stage that it leads to (the tuned one); `replace` moves that component c of the way to the
    base's mean one. Controls are random directions of the same length.

    Args:
        chain: The chain on which the direction was estimated.
        prompts: Texts, prompts, rendered prompts, or sequences, whose completions are left out.
        direction: What `attractor_direction` gave: it names stages, layer and site.
        coefficients: Doses c; `ablate` and `replace` take those from 0 to 1 (the others are missing there).
        operations: Some of `add`, `ablate`, `replace`.
        positions: `last` steers the last prompt token, `all` every prompt token.
        split: Estimate on one half of the templates (drawn by `seed`) and apply to the other, both ways round; prompts
            of templates that the direction was not estimated on get all of it.
        draws: Random directions.
        attractor: The followed token id; by default the last stage's most likely one after each prompt.
        seed: Fixes the halves and the random directions.

    Returns:
        A dataset over `prompt, operation, coefficient, control` (control is `direction`, `random 0`, ...) with
        `entropy`, `attractor_log_prob`, `attractor_log_odds` (nats) and `top_token`; over `prompt, operation`,
        `_recipient` is the unsteered run of the steered stage and `_donor` that of the other. A dose that leaves the
        activation as it is, bit for bit, reads exactly as the unsteered run; the attribute `noise_floor` (nats) is what
        a copy that is really run beside the steered ones without an edit differs by. `dose_response` sums it up.

    Raises:
        InputError: For unknown operations, positions or tokens, or a split without two templates.
        LookupError: Where a hook did not fire.
    """
    asked = Steering(direction, tuple(operations), tuple(float(c) for c in coefficients), draws, positions, split, seed)
    require_steering(asked)
    sequences = as_sequences(chain, prompts)
    runs = Runs(chain, asked, prefixes(sequences, 0), require_token(chain, attractor))
    for end in ENDS:
        for prompt in Progress(range(len(runs.ids)), desc=f"steering the {end}", unit="prompt"):
            runs.steer_prompt(end, prompt, asked.along(sequences.prompts.templates[prompt]))
    texts = {"text": sequences.prompts.texts, "template": sequences.prompts.templates}
    dataset = runs.dataset().assign_coords({name: ("prompt", list(values)) for name, values in texts.items()})
    made = {name: direction.attrs[name] for name in ("layer", "site", "at", *ENDS) if name in direction.attrs}
    made |= {"positions": positions, "split": split, "draws": draws, "seed": seed}
    return with_provenance(describe(dataset), analysis="steer", **made, **provenance(chain, sequences))


class Runs:
    """Clean runs of both ends, and the steered ones as they come."""

    chain: Chain
    asked: Steering
    ids: list[tuple[int, ...]]

    def __init__(self, chain: Chain, asked: Steering, ids: list[tuple[int, ...]], attractor: int | None) -> None:
        self.chain, self.asked, self.ids = chain, asked, ids
        finals = dict(zip(chain.names, (last_residuals(stage, ids) for stage in chain.stages), strict=True))
        self.follow: Followed = followed(chain, list(finals.values()), attractor)
        self.stages: dict[str, Stage] = {end: chain.stage(asked.direction.attrs[end]) for end in ENDS}
        self.clean: dict[str, torch.Tensor] = {end: finals[stage.name] for end, stage in self.stages.items()}
        everything = range(len(ids))
        self.ends: dict[str, Measured] = {end: self.read(end, self.clean[end], everything) for end in ENDS}
        shape = (len(ids), len(asked.operations), len(asked.coefficients), 1 + asked.draws)
        self.values: dict[str, np.ndarray] = {name: np.full(shape, np.nan, np.float32) for name in OF_ONE_RUN}
        self.values["top_token"] = np.full(shape, -1, np.int32)
        self.noise: float = 0.0

    def read(self, end: str, rows: torch.Tensor, prompts: Sequence[int]) -> Measured:
        """The measures of final residuals of one end's stage, each after one of the prompts."""
        readout, clean = self.stages[end].readout, self.clean[end]
        there = torch.as_tensor(sorted(set(prompts)))
        place = torch.searchsorted(there, torch.as_tensor(list(prompts)))
        own = readout.log_probs(clean[there.to(clean.device)])
        follow = Followed(*(part[there.to(part.device)] for part in self.follow))
        return measured(readout.log_probs, rows, own, place, follow)

    def steer_prompt(self, end: str, prompt: int, along: Along) -> None:
        """All steered runs of one end's stage on one prompt, with an unedited copy in each pass."""
        stage, ids = self.stages[end], self.ids[prompt]
        for part in in_parts(self.asked.variants(end), rows_at_once(stage, len(ids)) - 1):
            rows, same = steered(stage, self.asked, along, ids, part)
            values = self.read(end, rows, [prompt] * len(rows))
            own = {name: float(self.ends[end][name][prompt]) for name in KEPT}
            self.noise = max(self.noise, *(abs(float(values[name][0]) - own[name]) for name in OF_ONE_RUN))
            for row, variant in enumerate(part):
                for name in KEPT:
                    self.values[name][(prompt, *variant.place)] = own[name] if same[row] else values[name][row + 1]

    def dataset(self) -> xr.Dataset:
        """Everything that was measured, labelled."""
        asked, steered_ends = self.asked, [STEERED[operation] for operation in self.asked.operations]
        data: dict[str, tuple[tuple[str, ...], np.ndarray]] = {
            name: (AXES, values) for name, values in self.values.items()
        }
        for role, ends in (("recipient", steered_ends), ("donor", [ENDS[end] for end in steered_ends])):
            for name in KEPT:
                values = np.stack([self.ends[end][name].numpy() for end in ends], axis=-1)
                data[f"{name}_{role}"] = (AXES[:2], values.astype(self.values[name].dtype))
        data["attractor"] = (AXES[:1], self.follow.attractor.cpu().numpy().astype(np.int32))
        coords = {
            "operation": list(asked.operations),
            "coefficient": list(asked.coefficients),
            "control": ["direction", *(f"random {draw}" for draw in range(asked.draws))],
            "steered_stage": ("operation", [self.stages[end].name for end in steered_ends]),
        }
        dataset = xr.Dataset(data, coords=coords, attrs={"noise_floor": self.noise})
        used = [values for _, values in data.values() if values.dtype == np.int32]
        return with_token_strings(dataset, lambda i: token_strings(self.chain.tuned.tokenizer, [i])[0], *used)


def in_parts(variants: Sequence[Variant], size: int) -> Iterator[Sequence[Variant]]:
    """Variants, `size` at a time."""
    for start in range(0, len(variants), size):
        yield variants[start : start + size]


def steered(
    stage: Stage, asked: Steering, along: Along, ids: Sequence[int], variants: Sequence[Variant]
) -> tuple[Rows, list[bool]]:
    """Final residuals of an unedited copy of a prompt and of its steered ones; which edits changed nothing at all."""
    same: list[bool] = []
    columns = slice(None) if asked.positions == "all" else slice(-1, None)

    def edit(activation: torch.Tensor) -> torch.Tensor:
        new = activation.clone()
        for row, variant in enumerate(variants, 1):
            new[row, columns] = along.edited(activation[row, columns], variant)
            same.append(torch.equal(new[row], activation[row]))
        return new

    layer, site = int(asked.direction.attrs["layer"]), str(asked.direction.attrs["site"])
    return grown_residuals(stage, ids, layer, 1 + len(variants), [(hook_name(site, layer), edit)]), same
