"""At which stage a collapse comes in: the same headline measures at every checkpoint of a chain.

The post that this answers was about a stage tuned on rated samples, without reinforcement learning; a later stage with
it looked closer to the base. So stages are compared with the one before, not only with the base.
"""

from typing import Any

import numpy as np
import xarray as xr

from mcinterp.behaviour.contexts.reading import last_position
from mcinterp.chain import Chain
from mcinterp.completions import Decoding
from mcinterp.errors import InputError
from mcinterp.localisation.gate import OPENED
from mcinterp.localisation.thresholds import Thresholds
from mcinterp.prompts import Prompts
from mcinterp.rendering import RenderedPrompts
from mcinterp.results import describe, with_provenance
from mcinterp.samples import SAMPLING, sample_stages
from mcinterp.sequences import provenance, with_completions
from mcinterp.temperature import temperature_split


def stage_measures(
    chain: Chain,
    prompts: Prompts,
    decoding: Decoding = SAMPLING,
    *,
    rendering: str = "raw",
    samples: int = 8,
    at: str = "last",
    limits: Thresholds = Thresholds(),
) -> xr.Dataset:
    """Headline measures of every stage, prompt by prompt.

    Over `stage, prompt`: `entropy`, `entropy_without_end`, `kl_stage_to_base` (nats) and `end_probability` right after
    the prompt; `collapsed` (0 or 1), by the rule of `mcinterp.localisation.gate` for the pair of the base and the
    stage, read at `at` (`last`, `divergence` or `sequence`); `temperature_part` (nats), the part of `kl_stage_to_base`
    that a temperature explains (0 where beta <= 0, which is none); `shift_class` of the first answer token (0 the
    base's own, 1 its second or third, 2 below; Lin et al. 2023, URIAL); `distinct`, the share of different texts among
    the samples; and `base_nll` (nats a token), the surprise of the samples to the base. The base against itself has KL
    and `collapsed` 0.

    Raises:
        InputError: for another place to read, fewer than one sample, or prompts that the context cannot hold.
    """
    if at not in OPENED:
        raise InputError(f"got {at!r} for where a collapse is read; give one of {', '.join(OPENED)}.")
    rendered = chain.render(prompts, rendering)
    found = last_position(chain, rendered).assign(collapsed=collapsed(chain, rendered, at, limits))
    found = found.assign(temperatures(chain, rendered))
    found = found.assign(of_samples(sample_stages(chain, rendered, decoding, samples=samples)))
    bare = with_completions(chain, rendered, [()] * len(rendered), "none")
    how = {"temperature": decoding.temperature, "seed": decoding.seed, "max_new_tokens": decoding.max_new_tokens}
    return with_provenance(
        describe(found), analysis="stages", at=at, samples=samples, **how, **provenance(chain, bare)
    )  # fmt: skip


def pair_with_base(chain: Chain, number: int) -> Chain:
    """The base and one stage as a chain of two."""
    return Chain((chain.base, chain.stages[number]), chain.alignment)


def collapsed(chain: Chain, rendered: RenderedPrompts, at: str, limits: Thresholds) -> xr.DataArray:
    """Which prompts every stage has collapsed on, by the gate's rule for a single prompt."""
    found = np.zeros((len(chain.stages), len(rendered)), dtype=np.float32)
    for number in range(1, len(chain.stages)):
        found[number] = OPENED[at](pair_with_base(chain, number), rendered, limits).table["collapsed"].values
    return xr.DataArray(found, dims=("stage", "prompt"))


def temperatures(chain: Chain, rendered: RenderedPrompts) -> dict[str, xr.DataArray]:
    """The part of the divergence from the base that is a temperature, and the class of the first answer token."""
    split = temperature_split(chain, rendered, positions="last", output_only=True)
    last = split.isel(layer=-1).sel(lens="own", position=0, site="resid_post").transpose("stage", "prompt", ...)
    part = np.where(last["beta"].values > 0, last["temperature_kl"].values, 0.0)
    named = {"temperature_part": part, "shift_class": last["shift_class"].values}
    base = np.zeros((1, len(rendered)))
    return {
        name: xr.DataArray(np.concatenate([base, values]).astype(np.float32), dims=("stage", "prompt"))
        for name, values in named.items()
    }


def of_samples(samples: xr.Dataset) -> dict[str, Any]:
    """The share of different texts among the samples of a prompt, and their surprise to the base."""
    texts = samples["completion"].transpose("stage", "prompt", "sample").values
    shape, count = texts.shape[:2], texts.shape[2]
    distinct = [len(set(texts[cell].tolist())) / count for cell in np.ndindex(*shape)]
    cells = ("stage", "prompt")
    nll = -samples["base_log_prob"].sum(["sample", "step"]) / samples["n_tokens"].sum("sample").astype(float)
    return {
        "distinct": (cells, np.asarray(distinct, dtype=np.float32).reshape(shape)),
        "base_nll": nll.where(np.isfinite(nll)).transpose(*cells).astype(np.float32).drop_vars(list(nll.coords)),
    }
