"""How much of KL(stage || base) one temperature explains: one for all prompts, one a prompt, or one a token.

Next to `mcinterp.temperature`, whose exponents these are: the parts are kept prompt by prompt, so that they have
intervals, and only an exponent above 0 counts as a temperature. Pooling can only explain less: global <= prompt <=
token, up to exponents that are none.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
import xarray as xr

from mcinterp import divergence
from mcinterp.behaviour.temperature_curves.rollouts import labels
from mcinterp.capture import residual_points
from mcinterp.chain import Chain
from mcinterp.completions import Decoding
from mcinterp.landmarks import final_distribution
from mcinterp.lens import LOGIT_BYTES, ChunkOfRows, LogProbs, own_lens
from mcinterp.prompts import Prompts
from mcinterp.readings import hold
from mcinterp.results import describe, with_provenance
from mcinterp.sequences import Sequences, provenance, teacher_force
from mcinterp.temperature import FLOAT64_WORKING_SET, temperature_split

SCOPES = ("global", "prompt", "token")
PARTS = ("temperature_kl", "frequency_kl", "reordering_kl")


def temperature_scopes(
    chain: Chain, prompts: Prompts, *, steps: int = 24, rendering: Literal["raw", "chat"] = "raw", seed: int = 0
) -> xr.Dataset:
    """KL(stage || base) along completions at temperature 1, and what one exponent explains of it, by scope.

    Over `stage` (all but the base), `written_by` (the base or that stage) and `prompt`: `kl_sum`, summed over the
    positions of the completion (nats), `n_positions`, the parts of temperature, frequency and reordering with one
    exponent a token (`temperature_kl_sum`, `frequency_kl_sum`, `reordering_kl_sum`: they sum to it), and over `scope`
    `explained_kl_sum`, what base^beta explains of it where beta > 0, with its `scope_beta` (of `token`, the median).

    Raises `InputError` for a chain of one stage.
    """
    chain.require_two()
    rendered = chain.render(prompts, rendering)
    decoding = Decoding(steps, temperature=1.0, seed=seed)
    texts = {stage.name: teacher_force(chain, rendered, decoding, by=stage.name) for stage in chain.stages}
    along = {name: scopes_along(chain, sequences) for name, sequences in texts.items()}
    later = chain.names[1:]
    sides = [
        xr.concat([along[name if side == "stage" else chain.base.name].sel(stage=name) for name in later], dim="stage")
        for side in ("base", "stage")
    ]
    dataset = xr.concat(sides, dim="written_by").drop_vars(["text", "template", "rendering"], errors="ignore")
    dataset = dataset.assign_coords({**labels(chain, prompts, rendered), "written_by": ["base", "stage"]})
    return with_provenance(
        describe(dataset), analysis="temperature_scopes", max_new_tokens=steps, seed=seed, battery=prompts.source,
        **provenance(chain, texts[chain.base.name]),
    )  # fmt: skip


def scopes_along(chain: Chain, sequences: Sequences) -> xr.Dataset:
    """The split of every later stage along some completions."""
    split = final_distribution(temperature_split(chain, sequences, positions="completion", output_only=True))
    there = split["kl_stage_to_base"].notnull()
    temperature = split["temperature_kl"].where(split["beta"] > 0, 0.0).where(there)
    data: dict[str, Any] = {
        "kl_sum": split["kl_stage_to_base"].sum("position"),
        "n_positions": there.sum("position").astype(np.float32),
        **{f"{name}_sum": split[name].sum("position") for name in PARTS},
    }
    pooled = {"global": split["beta_global"].broadcast_like(split["beta_prompt"]), "prompt": split["beta_prompt"]}
    explained = dict(zip(pooled, explained_by(chain, sequences, list(pooled.values())), strict=True))
    explained["token"] = temperature.sum("position")
    pooled["token"] = split["beta"].median("position")
    order = ("stage", "prompt")
    for name, parts in (("explained_kl_sum", explained), ("scope_beta", pooled)):
        data[name] = xr.concat([parts[scope].transpose(*order) for scope in SCOPES], dim="scope")
    dataset = xr.Dataset({name: values.reset_coords(drop=True) for name, values in data.items()})
    return dataset.assign_coords(scope=list(SCOPES)).astype(np.float32)


def explained_by(chain: Chain, sequences: Sequences, betas: Sequence[xr.DataArray]) -> list[xr.DataArray]:
    """KL(q || p) - KL(q || p^beta), summed over the positions of every prompt; 0 where beta is not above 0."""
    exponents = [torch.tensor(beta.transpose("stage", "prompt").values.astype(float)) for beta in betas]
    totals = [torch.zeros_like(each) for each in exponents]
    for chunk, read in outputs(chain, sequences):
        prompt = torch.from_numpy(chunk.prompt)
        p = read[0].double().log_softmax(dim=-1)
        for stage, each in enumerate(read[1:]):
            q = each.double().log_softmax(dim=-1)
            whole = divergence.kl_divergence(q, p)
            for total, exponent in zip(totals, exponents, strict=True):
                own = exponent[stage, prompt].to(p.device)
                gain = whole - divergence.kl_divergence(q, (own.clamp(min=0.0)[:, None] * p).log_softmax(dim=-1))
                kept = torch.where((own > 0) & (own != 1), gain, torch.zeros_like(gain))
                total[stage].index_add_(0, prompt, kept.cpu())
    return [beta.copy(data=total.numpy()) for beta, total in zip(betas, totals, strict=True)]


@torch.inference_mode()
def outputs(chain: Chain, sequences: Sequences) -> Iterator[tuple[ChunkOfRows, list[LogProbs]]]:
    """Rows of completions, and every stage's own distribution there, chunk by chunk."""
    points = residual_points(chain.base)[-1:]
    held = hold(chain, sequences, points, "completion", LOGIT_BYTES // FLOAT64_WORKING_SET)
    yield from zip(held.chunks, held.read(own_lens(chain), 0, LOGIT_BYTES // 2), strict=True)
