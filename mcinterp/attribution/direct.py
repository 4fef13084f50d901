"""Direct logit attribution: which components write the attractor token's logit, and what tuning changed about it.

The logit of a token minus a reference (the mean logit, another token's, or the mean logit of the base-plausible set) is
linear in the final residual stream once the final norm's scale is frozen at its actual value; each component's share is
its own write into the stream, read in that direction (Elhage et al. 2021; Nostalgebraist's logit lens read apart).
"Where it is readable", not "where it is": a component that writes the token need not be what makes the model say it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr

from mcinterp import divergence
from mcinterp.attribution.writes import Written, written
from mcinterp.budget import halving
from mcinterp.chain import Chain, Stage
from mcinterp.errors import InputError
from mcinterp.intervene.inputs import PromptsLike, as_sequences, reads_of, require_token
from mcinterp.norms import linear_norm
from mcinterp.parts import completeness_error
from mcinterp.rendering import token_strings
from mcinterp.results import describe, with_provenance, with_token_strings
from mcinterp.sequences import Sequences, provenance
from mcinterp.weights.labels import prompt_labels

GROUPINGS = ("head", "component")


@dataclass(frozen=True)
class Direction:
    """How a stage's final residual stream is read, row by row: the direction, and what the biases add.

    `total` is the pre-softcap logit of the token minus the reference, by the stage's own norm and unembedding.
    """

    read: torch.Tensor
    norm_bias: torch.Tensor
    unembed_bias: torch.Tensor
    total: torch.Tensor


@dataclass(frozen=True)
class Part:
    """Labels of one part, and which neurons it is made of where it is one."""

    name: str
    site: str
    layer: int
    head: int = -1
    neuron: int = -1


@halving
def direct_logit_attribution(
    chain: Chain,
    prompts: PromptsLike,
    *,
    by: str = "head",
    against: str | int = "mean",
    neurons: int = 0,
    read_at: int | Sequence[int] = 0,
    attractor: int | None = None,
) -> xr.Dataset:
    """Attribute the attractor token's logit to the components that write it, for every stage.

    Args:
        chain: A pair or chain of checkpoints.
        prompts: Texts, prompts, rendered prompts, or teacher-forced sequences.
        by: `head` (each head, and what attention adds besides) or `component` (attention whole).
        against: `mean`: the mean logit of the vocabulary; `plausible`: the mean logit of the smallest set of other
            tokens with 90 % of the base's remaining mass; or a token id.
        neurons: Also this many MLP neurons, those that move the logit most in any stage; the MLP keeps the rest.
        read_at: Positions whose next-token logits are read; several are averaged.
        attractor: The followed token id; by default the last stage's most likely token at each row.

    Returns:
        A dataset over `stage, prompt, component` (with coordinates `site`, `layer`, `head`, `neuron`; -1 where there is
        none), in logits (nats): `attribution`; `output_changed` and `readout_changed`, the two halves of its difference
        to the base (the component's write, and the direction it is read in; which of the two was changed first does not
        matter: both orders are averaged); over `stage, prompt`: `total` and `completeness_error` = |sum - total| /
        max(|total|, 0.1). With a softcap it is the logit before the cap.

    Raises:
        InputError: For an unknown grouping, reference or token, or an architecture that adds something else.
    """
    if by not in GROUPINGS:
        raise InputError(f"grouping {by!r} is unknown; give one of {', '.join(GROUPINGS)}.")
    sequences = as_sequences(chain, prompts)
    reads = reads_of(sequences, read_at)
    columns = read_columns(sequences, reads)
    found = [written(stage, sequences.ids, columns, neurons=neurons > 0) for stage in chain.stages]
    tokens, reference = followed(chain, found, require_token(chain, attractor), against)
    directions = [direction_of(s, w, tokens, reference) for s, w in zip(chain.stages, found, strict=True)]
    parts, table = attributed(found, directions, by == "head", neurons)
    owner = np.repeat(np.arange(len(sequences)), [len(each) for each in columns])
    dataset = labelled(chain, sequences, parts, {name: by_prompt(each, owner) for name, each in table.items()})
    dataset["attractor"] = ("prompt", first_of(tokens, owner))
    return with_provenance(
        describe(named_tokens(chain, dataset)),
        analysis="direct_logit_attribution",
        by=by,
        against=against,
        read_at=list(reads),
        **provenance(chain, sequences),
    )


def read_columns(sequences: Sequences, reads: Sequence[int]) -> list[list[int]]:
    """The columns that are read in each sequence."""
    lengths = [len(ids) for ids in sequences.prompts.token_ids]
    return [[n - 1 + r for r in reads if n - 1 + r < len(ids)] for n, ids in zip(lengths, sequences.ids, strict=True)]


@torch.inference_mode()
def followed(
    chain: Chain, found: Sequence[Written], attractor: int | None, against: str | int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The followed token of each row, and the weights over the vocabulary that it is set against (they sum to 1)."""
    base, last = (chain.stages[i].readout.log_probs(found[i].final).cpu() for i in (0, -1))
    tokens = divergence.followed_token(last, attractor)
    if against == "mean":
        return tokens, torch.full_like(base[:1], 1.0 / base.shape[1]).expand_as(base)
    weights = torch.zeros_like(base)
    if against == "plausible":
        rivals, belongs = divergence.plausible_set(base, tokens)
        return tokens, weights.scatter(1, rivals, belongs / belongs.sum(dim=1, keepdim=True))
    if not isinstance(against, int) or not 0 <= against < base.shape[1]:
        raise InputError(f"got against={against!r}; give mean, plausible, or a token id below {base.shape[1]}.")
    weights[:, against] = 1.0
    return tokens, weights


@torch.no_grad()
def direction_of(stage: Stage, found: Written, tokens: torch.Tensor, reference: torch.Tensor) -> Direction:
    """The direction in which a stage's final residual stream is read for token minus reference."""
    readout = stage.readout
    norm = linear_norm(readout.norm, int(stage.bridge.cfg.d_model))
    where, size = readout.weight.device, readout.vocabulary
    tokens, reference = tokens.to(where), reference.to(where)
    weight = readout.weight[:size].float()
    read = readout.multiplier * (weight[tokens] - reference @ weight)
    bias = torch.zeros(size, device=where) if readout.bias is None else readout.bias[:size].float()
    unembed_bias = readout.multiplier * (bias[tokens] - reference @ bias)
    final = found.final.to(where)
    total = (read * readout.norm(final)).sum(dim=-1) + unembed_bias
    return Direction(norm.pull_back(read, norm.scale(final)), read @ norm.bias, unembed_bias, total)


def attributed(
    found: Sequence[Written], directions: Sequence[Direction], heads: bool, neurons: int
) -> tuple[list[Part], dict[str, np.ndarray]]:
    """Labels of all parts, and by stage: attribution, its two halves of change, over row and part, and totals."""
    chosen = strongest_neurons(found, directions, neurons)
    own = [read_parts(w, d, heads, chosen) for w, d in zip(found, directions, strict=True)]
    values = [np.stack([value for _, value in each], axis=1) for each in own]
    base = values[0]
    output, readout = [np.zeros_like(base)], [np.zeros_like(base)]
    for number in range(1, len(found)):
        read_by_base = [v for _, v in read_parts(found[number], directions[0], heads, chosen)]
        base_read = [v for _, v in read_parts(found[0], directions[number], heads, chosen)]
        crossed, back = np.stack(read_by_base, axis=1), np.stack(base_read, axis=1)
        output.append(((values[number] - back) + (crossed - base)) / 2)
        readout.append(((values[number] - crossed) + (back - base)) / 2)
    totals = np.stack([direction.total.double().cpu().numpy() for direction in directions])
    table = {
        "attribution": np.stack(values),
        "output_changed": np.stack(output),
        "readout_changed": np.stack(readout),
        "total": totals,
    }
    return [part for part, _ in own[0]], table


def read_parts(
    found: Written, direction: Direction, heads: bool, chosen: dict[int, list[int]]
) -> list[tuple[Part, np.ndarray]]:
    """Every part with what a direction reads of it, row by row."""
    read = direction.read.to(found.embed.device)
    parts = [(Part("embed", "embed", -1), (read * found.embed).sum(dim=-1))]
    for number, layer in enumerate(found.layers):
        if heads:
            each, rest = layer.heads(read)
            parts += [(Part(f"{number}.attn.{h}", "attn", number, h), each[:, h]) for h in range(each.shape[1])]
            parts.append((Part(f"{number}.attn", "attn", number), rest))
        else:
            parts.append((Part(f"{number}.attn", "attn", number), layer.whole("attn", read)))
        mlp = layer.whole("mlp", read)
        if chosen.get(number):
            each = layer.of_neurons(read)[:, chosen[number]]
            named = zip(chosen[number], each.unbind(dim=1), strict=True)
            parts += [(Part(f"{number}.mlp.{n}", "mlp", number, neuron=n), value) for n, value in named]
            mlp = mlp - each.sum(dim=1)
        parts.append((Part(f"{number}.mlp", "mlp", number), mlp))
    parts.append((Part("norm", "norm", -1), direction.norm_bias))
    parts.append((Part("unembed", "unembed", -1), direction.unembed_bias))
    return [(part, value.double().cpu().numpy()) for part, value in parts]


def strongest_neurons(found: Sequence[Written], directions: Sequence[Direction], count: int) -> dict[int, list[int]]:
    """By layer, the neurons whose mean contribution is largest in size in any stage."""
    if count < 1:
        return {}
    size = None
    for each, direction in zip(found, directions, strict=True):
        read = direction.read.to(each.embed.device)
        mean = torch.stack([layer.of_neurons(read).mean(dim=0).abs().cpu() for layer in each.layers])
        size = mean if size is None else torch.maximum(size, mean)
    assert size is not None
    best = size.flatten().topk(min(count, size.numel())).indices
    chosen: dict[int, list[int]] = {}
    for index in sorted(best.tolist()):
        chosen.setdefault(index // size.shape[1], []).append(index % size.shape[1])
    return chosen


def by_prompt(values: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """Values over stage and row (and part) as means over the rows of every prompt."""
    prompts = range(int(owner.max()) + 1)
    return np.stack([values[:, owner == prompt].mean(axis=1) for prompt in prompts], axis=1)


def first_of(tokens: torch.Tensor, owner: np.ndarray) -> np.ndarray:
    """The followed token at the first read position of every prompt."""
    return np.asarray([tokens.numpy()[owner == prompt][0] for prompt in range(int(owner.max()) + 1)], dtype=np.int32)


def labelled(chain: Chain, sequences: Sequences, parts: Sequence[Part], table: dict[str, np.ndarray]) -> xr.Dataset:
    """Attributions with their labels, and how far their sum is from the total."""
    table = {**table, "completeness_error": completeness_error(table["attribution"].sum(axis=2), table["total"])}
    dims = ("stage", "prompt", "component")
    data: dict[str, Any] = {name: (dims[: v.ndim], v.astype(np.float32)) for name, v in table.items()}
    return xr.Dataset(
        data,
        coords={
            "stage": list(chain.names),
            **prompt_labels(sequences),
            "component": [part.name for part in parts],
            **{
                name: ("component", [getattr(part, name) for part in parts])
                for name in ("site", "layer", "head", "neuron")
            },
        },
    )


def named_tokens(chain: Chain, dataset: xr.Dataset) -> xr.Dataset:
    """The dataset with the text of the followed tokens."""
    return with_token_strings(
        dataset, lambda i: token_strings(chain.tuned.tokenizer, [i])[0], dataset["attractor"].values
    )
