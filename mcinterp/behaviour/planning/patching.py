"""What one place's residual does to a token several steps ahead, through forced neutral tokens and no written text.

A prompt's `bridge` is text that says nothing of what follows it (` I think so.` behind `Are ghosts real?`), and the
token that a stage then finds likeliest is what it plans. The residual of the prompt's last token is replaced, at one
layer or at all, and the planned tokens are read behind the same forced bridge.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float

from mcinterp.behaviour.planning.residuals import Point, layer_points, patched_log_probs, residuals
from mcinterp.behaviour.planning.settings import Planning
from mcinterp.chain import Chain, Stage
from mcinterp.errors import InputError
from mcinterp.intervene.donors import moved
from mcinterp.prompts import Prompts
from mcinterp.rendering import encode
from mcinterp.results import describe, with_provenance
from mcinterp.sequences import provenance, with_completions

CANDIDATES, LEAST_GAP = 4, 1.0
Ids = Sequence[int]
LogProbs = Float[torch.Tensor, "row vocabulary"]


class Bridged(NamedTuple):
    """Prompts with a bridge: their numbers, tokens, bridges, and the other prompts that may be a donor to each."""

    numbers: list[int]
    prompts: list[tuple[int, ...]]
    bridges: list[tuple[int, ...]]
    candidates: list[list[int]]

    @property
    def whole(self) -> list[tuple[int, ...]]:
        """Prompt and bridge of each."""
        return [(*prompt, *bridge) for prompt, bridge in zip(self.prompts, self.bridges, strict=True)]

    @property
    def columns(self) -> list[int]:
        """The place of each prompt's last token."""
        return [len(prompt) - 1 for prompt in self.prompts]


class Pair(NamedTuple):
    """A prompt (its row), the donor's row, and the token that each plans behind the prompt's bridge."""

    row: int
    donor: int
    own: int
    other: int


def patches(chain: Chain, prompts: Prompts, settings: Planning) -> xr.Dataset:
    """What replacing the residual of the prompt's last token does to the planned token.

    Over `stage, prompt`, in nats: `plan_gap`, log P(donor's planned token) - log P(own) behind the donor prompt minus
    the same behind the prompt; `plan_full`, the part of it that the donor's residuals at this one place make at all
    layers together, and `plan_noop` what the own residuals put back at all layers do; over `layer` too `plan_effect` of
    one layer's residual, and `plan_random` of one as far away in a random direction. The donor is the next prompt of
    the template that plans another token, `LEAST_GAP` nats apart; missing where there is none.

    Over `direction, prompt` for the base and the last stage on the same prompt: `swap_gap`, log P of the token that the
    donor stage plans, under the donor minus under the recipient, `swap_full`, `swap_noop`, and over `layer`
    `swap_effect`. `plan_distance` is how many tokens ahead the planned one lies.

    Raises `InputError` where no prompt has a bridge.
    """
    rendered = chain.render(prompts)
    bridged = with_bridges(chain, prompts)
    layers = settings.chosen_layers(chain.base.n_layers)
    count = len(rendered)
    data: dict[str, tuple[tuple[str, ...], np.ndarray]] = {}
    each = [of_stage(stage, bridged, layers, count, settings.seed) for stage in chain.stages]
    for name in each[0]:
        dims = ("stage", "prompt", "layer")[: each[0][name].ndim + 1]
        data[name] = (dims, np.stack([found[name] for found in each]).astype(np.float32))
    pairs = {"base_to_tuned": (chain.base, chain.tuned), "tuned_to_base": (chain.tuned, chain.base)}
    both = [of_stages(*ends, bridged, layers, count) for ends in pairs.values()]
    for name in both[0]:
        dims = ("direction", "prompt", "layer")[: both[0][name].ndim + 1]
        data[name] = (dims, np.stack([found[name] for found in both]).astype(np.float32))
    distance = np.zeros(count, dtype=np.int32)
    distance[bridged.numbers] = [len(bridge) + 1 for bridge in bridged.bridges]
    data["plan_distance"] = (("prompt",), distance)
    dataset = xr.Dataset(data).assign_coords(
        stage=list(chain.names), direction=list(pairs), prompt=np.arange(count), layer=layers,
        text=("prompt", list(rendered.texts)), template=("prompt", list(rendered.templates)),
    )  # fmt: skip
    bare = with_completions(chain, rendered, [()] * count, "none")
    return with_provenance(describe(dataset), analysis="planning_patch", seed=settings.seed, **provenance(chain, bare))


def with_bridges(chain: Chain, prompts: Prompts) -> Bridged:
    """The prompts whose metadata name a bridge (it may be empty), with the prompts behind each of its template."""
    rendered = chain.render(prompts)
    numbers = [n for n, item in enumerate(prompts.items) if isinstance(item.metadata.get("bridge"), str)]
    if not numbers:
        raise InputError("no prompt has a `bridge`; give some the neutral text that stands before what is planned.")
    bridges = [tuple(bridge_ids(chain, rendered.texts[n], str(prompts.items[n].metadata["bridge"]))) for n in numbers]
    templates = [rendered.templates[n] for n in numbers]
    candidates = []
    for row, template in enumerate(templates):
        same = [other for other, name in enumerate(templates) if name == template]
        at = same.index(row)
        candidates.append((same[at + 1 :] + same[:at])[:CANDIDATES])
    return Bridged(numbers, [tuple(rendered.token_ids[n]) for n in numbers], bridges, candidates)


def bridge_ids(chain: Chain, text: str, bridge: str) -> list[int]:
    """The tokens of a bridge behind a prompt, whose own tokens must stay as they are."""
    if not bridge:
        return []
    before = encode(chain.tuned.tokenizer, text, "raw")
    whole = encode(chain.tuned.tokenizer, text + bridge, "raw")
    if whole[: len(before)] != before:
        raise InputError(f"the bridge {bridge!r} changes the tokens of {text[-40:]!r}; begin it otherwise.")
    if len(whole) > chain.alignment.context:
        raise InputError(
            f"{text[-40:]!r} and its bridge have {len(whole)} tokens and the context holds {chain.alignment.context}; "
            "shorten one of them."
        )
    return whole[len(before) :]


def of_stage(
    stage: Stage, bridged: Bridged, layers: Sequence[int], count: int, seed: int
) -> dict[str, Float[np.ndarray, "prompt ..."]]:
    """Everything of patches by another prompt, one stage."""
    clean = patched_log_probs(stage, bridged.whole, bridged.columns, {})
    pairs, behind = partners(stage, bridged, clean)
    points = layer_points(layers)
    full = layer_points(range(stage.n_layers))
    found = {name: np.full((count, len(layers)), np.nan) for name in ("plan_effect", "plan_random")}
    found |= {name: np.full(count, np.nan) for name in ("plan_gap", "plan_full", "plan_noop")}
    if not pairs:
        return found
    donor = ends(stage, bridged, [pair.donor for pair in pairs], full)
    rows = [bridged.numbers[pair.row] for pair in pairs]
    texts = [bridged.whole[pair.row] for pair in pairs]
    columns = [bridged.columns[pair.row] for pair in pairs]
    own = residuals(stage, texts, [[column] for column in columns], full)
    before = contrast(patched_log_probs(stage, texts, columns, {}), pairs)

    def effect(values: dict[Point, torch.Tensor]) -> np.ndarray:
        return contrast(patched_log_probs(stage, texts, columns, values), pairs) - before

    found["plan_gap"][rows] = contrast(behind, pairs) - before
    found["plan_full"][rows], found["plan_noop"][rows] = effect(donor), effect(own)
    for n, point in enumerate(points):
        found["plan_effect"][rows, n] = effect({point: donor[point]})
        random = torch.stack([direction(seed, row, point.layer, own[point].shape[1]) for row in rows])
        found["plan_random"][rows, n] = effect({point: moved(own[point], donor[point], random)})
    return found


def direction(seed: int, prompt: int, layer: int, width: int) -> Float[torch.Tensor, "d_model"]:
    """The random direction of one prompt and layer."""
    return torch.from_numpy(np.random.default_rng((seed, prompt, layer)).standard_normal(width).astype(np.float32))


def partners(stage: Stage, bridged: Bridged, clean: LogProbs) -> tuple[list[Pair], torch.Tensor]:
    """The first candidate of every prompt that plans another token behind its bridge, and what follows it there.

    The contrast of the two tokens must differ by `LEAST_GAP` between the prompts: a near tie is no other plan.
    """
    planned = clean.argmax(dim=-1).tolist()
    found: dict[int, tuple[Pair, torch.Tensor]] = {}
    for nth in range(CANDIDATES):
        cells = [(r, each[nth]) for r, each in enumerate(bridged.candidates) if r not in found and nth < len(each)]
        if not cells:
            break
        texts = [(*bridged.prompts[other], *bridged.bridges[row]) for row, other in cells]
        read = patched_log_probs(stage, texts, [0] * len(texts), {})
        pairs = [Pair(*cell, planned[cell[0]], int(each.argmax())) for cell, each in zip(cells, read, strict=True)]
        gaps = contrast(read, pairs) - contrast(clean[[pair.row for pair in pairs]], pairs)
        kept = zip(pairs, read, gaps >= LEAST_GAP, strict=True)
        found |= {pair.row: (pair, each) for pair, each, apart in kept if apart}
    if not found:
        return [], clean[:0]
    ordered = [found[row] for row in sorted(found)]
    return [pair for pair, _ in ordered], torch.stack([read for _, read in ordered])


def ends(stage: Stage, bridged: Bridged, rows: Sequence[int], points: Sequence[Point]) -> dict[Point, torch.Tensor]:
    """The residuals of the last token of some prompts."""
    return residuals(stage, [bridged.prompts[r] for r in rows], [[bridged.columns[r]] for r in rows], points)


def contrast(log_probs: LogProbs, pairs: Sequence[Pair]) -> Float[np.ndarray, "row"]:
    """log P(donor's planned token) - log P(own planned token) of every pair, in nats."""
    rows = torch.arange(len(pairs))
    own, other = (torch.tensor([getattr(pair, name) for pair in pairs]) for name in ("own", "other"))
    return (log_probs[rows, other] - log_probs[rows, own]).double().numpy()


def of_stages(
    donor: Stage, recipient: Stage, bridged: Bridged, layers: Sequence[int], count: int
) -> dict[str, Float[np.ndarray, "prompt ..."]]:
    """Everything of patches by another stage on the same prompt."""
    rows = list(range(len(bridged.numbers)))
    full = layer_points(range(recipient.n_layers))
    values = ends(donor, bridged, rows, full)
    own = residuals(recipient, bridged.whole, [[column] for column in bridged.columns], full)
    given = patched_log_probs(donor, bridged.whole, bridged.columns, {})
    clean = patched_log_probs(recipient, bridged.whole, bridged.columns, {})
    planned = given.argmax(dim=-1)
    found = {"swap_effect": np.full((count, len(layers)), np.nan)}
    found |= {name: np.full(count, np.nan) for name in ("swap_gap", "swap_full", "swap_noop")}

    def change(log_probs: LogProbs) -> np.ndarray:
        return (log_probs - clean).gather(1, planned.unsqueeze(-1)).squeeze(-1).double().numpy()

    def effect(new: dict[Point, torch.Tensor]) -> np.ndarray:
        return change(patched_log_probs(recipient, bridged.whole, bridged.columns, new))

    found["swap_gap"][bridged.numbers] = change(given)
    found["swap_full"][bridged.numbers], found["swap_noop"][bridged.numbers] = effect(values), effect(own)
    for n, point in enumerate(layer_points(layers)):
        found["swap_effect"][bridged.numbers, n] = effect({point: values[point]})
    return found
