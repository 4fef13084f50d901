"""The direction from the base's residual stream to the tuned one's, and what adding or removing it does.

If collapse is a direction, adding it to the base should bring the collapse in proportion, and taking it out of the
tuned model should undo it; a random direction of the same length should do neither (Turner et al. 2023, "Activation
addition"; Arditi et al. 2024, "Refusal in language models is mediated by a single direction").
"""

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
import torch
import xarray as xr

from mcinterp.batching import batches
from mcinterp.budget import halving
from mcinterp.capture import affordable_tokens, capture
from mcinterp.chain import Chain, Stage
from mcinterp.errors import InputError
from mcinterp.folding import final_norm, folded_unembedding
from mcinterp.growth import followed, last_residuals, prefixes
from mcinterp.intervene.inputs import PromptsLike, as_sequences, require_token
from mcinterp.intervene.sites import hook_name, require_sites
from mcinterp.rendering import token_strings
from mcinterp.results import describe, with_provenance, with_token_strings
from mcinterp.sequences import provenance

SITES = ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out")
At = Literal["last", "all"]


@halving
def attractor_direction(
    chain: Chain,
    prompts: PromptsLike,
    *,
    layer: int,
    site: str = "resid_post",
    at: At = "last",
    donor: str | None = None,
    recipient: str | None = None,
    attractor: int | None = None,
) -> xr.Dataset:
    """The mean difference of two stages' residual streams over prompts, donor minus recipient.

    Args:
        chain: A pair or chain of checkpoints.
        prompts: Texts, prompts, rendered prompts, or sequences, whose completions are left out.
        layer: The layer at which the direction is taken.
        site: `resid_pre`, `resid_mid`, `resid_post`, `attn_out` or `mlp_out`.
        at: `last` takes the last prompt token, `all` the mean over all prompt tokens.
        donor: The stage that the direction leads to; the last by default.
        recipient: The stage that it starts from; the first by default.
        attractor: The followed token id; by default the last stage's most likely one after each prompt.

    Returns:
        A dataset with `residual_donor` and `residual_recipient` over `prompt, d_model` (from which `steer` estimates
        the direction on one half of the templates), `direction_vector` over `d_model`, `direction_norm`, and over
        `prompt`, `cosine_to_readout`, its cosine with the donor's readout of the attractor (the token's row of the
        unembedding with the final norm's gain, minus the mean over the vocabulary), and `cosine_to_direction`, the
        cosine of the prompt's own difference with the mean over the other prompts (missing for a single prompt).

    Raises:
        InputError: For stages, layers, sites or tokens that do not exist.
    """
    chain.require_two()
    ends = {"donor": chain.tuned if donor is None else chain.stage(donor)}
    ends["recipient"] = chain.base if recipient is None else chain.stage(recipient)
    require_place(ends.values(), layer, site, at)
    sequences = as_sequences(chain, prompts)
    ids = prefixes(sequences, 0)
    residual = {end: residuals_at(stage, ids, hook_name(site, layer), at) for end, stage in ends.items()}
    finals = [last_residuals(stage, ids) for stage in (chain.base, chain.tuned)]
    token = followed(chain, finals, require_token(chain, attractor)).attractor.cpu()
    each = residual["donor"] - residual["recipient"]
    vector = each.mean(dim=0)
    variables = {
        "residual_donor": (("prompt", "d_model"), residual["donor"]),
        "residual_recipient": (("prompt", "d_model"), residual["recipient"]),
        "direction_vector": ("d_model", vector),
        "direction_norm": ((), vector.norm()),
        "cosine_to_readout": ("prompt", cosine(vector, readout_rows(ends["donor"], token))),
        "cosine_to_direction": ("prompt", cosine(each, others_mean(each))),
    }
    dataset = xr.Dataset(
        {name: (dims, value.numpy().astype(np.float32)) for name, (dims, value) in variables.items()},
        coords={
            "text": ("prompt", list(sequences.prompts.texts)),
            "template": ("prompt", list(sequences.prompts.templates)),
        },
    )
    dataset["attractor"] = ("prompt", token.numpy().astype(np.int32))
    dataset = with_token_strings(dataset, lambda i: token_strings(chain.tuned.tokenizer, [i])[0], token.numpy())
    names = {end: stage.name for end, stage in ends.items()}
    dataset.attrs |= {"layer": layer, "site": site, "at": at} | names
    return with_provenance(
        describe(dataset), analysis="attractor_direction", layer=layer, site=site, at=at, **names,
        **provenance(chain, sequences),
    )  # fmt: skip


def require_place(stages: Iterable[Stage], layer: int, site: str, at: str) -> None:
    """Refuse a layer, site or token choice that does not exist."""
    for stage in stages:
        if not 0 <= layer < stage.n_layers:
            raise InputError(
                f"layer {layer} was asked for and the model has layers 0 to {stage.n_layers - 1}; choose among them."
            )
        if site not in SITES:
            raise InputError(f"site {site!r} has no direction in the residual stream; give one of {', '.join(SITES)}.")
        require_sites(stage, [site])
    if at not in ("last", "all"):
        raise InputError(f"at={at!r} is unknown; give last or all.")


@torch.inference_mode()
def residuals_at(stage: Stage, ids: Sequence[Sequence[int]], hook: str, at: str) -> torch.Tensor:
    """An activation at the last token of each sequence, or its mean over all tokens; float32, prompt first."""
    found = torch.zeros(len(ids), int(stage.bridge.cfg.d_model))
    for batch in batches(ids, max_tokens=affordable_tokens(stage, 2)):
        kept = capture(stage, batch, [hook])[hook].float().cpu()
        for row, (index, size) in enumerate(zip(batch.indices, batch.lengths, strict=True)):
            found[index] = kept[row, size - 1] if at == "last" else kept[row, :size].mean(dim=0)
    return found


def cosine(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Cosine along the last axis; missing where a vector is zero."""
    size = left.norm(dim=-1) * right.norm(dim=-1)
    return torch.where(size > 0, (left * right).sum(dim=-1) / size, torch.nan)


def others_mean(each: torch.Tensor) -> torch.Tensor:
    """For every row the mean of the other rows; missing for a single row."""
    return (each.sum(dim=0) - each) / (len(each) - 1) if len(each) > 1 else torch.full_like(each, torch.nan)


@torch.inference_mode()
def readout_rows(stage: Stage, tokens: torch.Tensor) -> torch.Tensor:
    """The residual direction that raises each token's logit over the mean logit: folded W_U, centred; float32."""
    norm = final_norm(stage)
    mean = sum(block.sum(dim=0) for block in folded_unembedding(stage, norm)) / stage.readout.vocabulary
    row = stage.readout.weight[tokens.to(stage.readout.weight.device)].double() * norm.gain
    row = row - row.mean(dim=-1, keepdim=True) if norm.centred else row
    return (row - mean).float().cpu()
