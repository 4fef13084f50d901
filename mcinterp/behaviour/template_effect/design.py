"""Weights or template: what of a collapse the tuned weights bring, what the chat template, and what only both together.

Published answers to which of the two collapses disagree, so every measure is read in all four cells. What the template
does inside the tuned stage is then asked of the keys and values of its positions alone.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr

from mcinterp import divergence
from mcinterp.behaviour.contexts.reading import labels, last_position, last_rows
from mcinterp.behaviour.stages import of_samples, pair_with_base
from mcinterp.chain import Chain
from mcinterp.completions import Decoding
from mcinterp.intervene.patching import patch
from mcinterp.prompts import Prompts
from mcinterp.rendering import RenderedPrompts
from mcinterp.results import describe, with_provenance
from mcinterp.samples import sample_stages
from mcinterp.sequences import provenance, with_completions

RENDERED = ("raw", "chat")
PATCHED = ("template", "content", "all")
METRICS = ("entropy", "attractor_log_odds")
SHORT = Decoding(max_new_tokens=16, temperature=1.0)


def template_effect(chain: Chain, prompts: Prompts, decoding: Decoding = SHORT, *, samples: int = 6) -> xr.Dataset:
    """Headline measures of every stage on every prompt, rendered raw and by the chat template.

    Over `stage, rendering, prompt`, right after the prompt: `entropy`, `entropy_without_end` (nats), `end_probability`;
    `kl_to_plain_base` (nats), KL(cell || base on the raw prompt), and `kl_stage_to_base` (nats), KL to the base on the
    same tokens; and `distinct`, the share of different texts among the samples, and `base_nll` (nats a token), their
    surprise to the base behind the same tokens.

    Raises:
        InputError: where no stage has a chat template, or a prompt exceeds the context.
    """
    rendered = [chain.render(prompts, rendering) for rendering in RENDERED]
    plain = plain_base(chain, rendered[0])
    pieces = []
    for each in rendered:
        found = last_position(chain, each).drop_vars("text")
        found = found.assign(kl_to_plain_base=(("stage", "prompt"), against(chain, each, plain)))
        pieces.append(found.assign(of_samples(sample_stages(chain, each, decoding, samples=samples))))
    dataset = xr.concat(pieces, dim="rendering").assign_coords(rendering=list(RENDERED), **labels(rendered[0]))
    dataset = dataset.transpose("stage", "rendering", "prompt")
    how = {"temperature": decoding.temperature, "seed": decoding.seed, "max_new_tokens": decoding.max_new_tokens}
    bare = with_completions(chain, rendered[1], [()] * len(prompts), "none")
    return with_provenance(
        describe(dataset), analysis="template_effect", samples=samples, **how, **provenance(chain, bare)
    )  # fmt: skip


def plain_base(chain: Chain, raw: RenderedPrompts) -> torch.Tensor:
    """The base's log-probabilities right after every raw prompt."""
    found = torch.empty(len(raw), chain.alignment.vocabulary)
    for prompts, read in last_rows(Chain(chain.stages[:1], chain.alignment), raw):
        found[prompts] = read[0]
    return found


def against(chain: Chain, rendered: RenderedPrompts, plain: torch.Tensor) -> np.ndarray:
    """KL from every stage's distribution after a prompt to the base's after the raw one."""
    found = np.zeros((len(chain.stages), len(rendered)), dtype=np.float32)
    for prompts, read in last_rows(chain, rendered):
        for number, q in enumerate(read):
            found[number, prompts] = divergence.kl_divergence(q, plain[prompts]).clamp(min=0.0).numpy()
    return found


def template_keys(
    chain: Chain, prompts: Prompts, *, patched: Sequence[str] = PATCHED, seed: int = 0, **options: Any
) -> xr.Dataset:
    """Keys and values of all layers moved between the base and every stage, at some positions of the chat rendering.

    `template` are the positions that the chat template brought (the last one is among them), `content` those of the
    messages, `all` both: what is left is what the last position makes of them. Over `prompt, direction, patched` (and
    `control`: noop, random, shuffled): `keys_entropy` (nats) and `keys_attractor_log_odds` (nats) with `_donor`,
    `_recipient` and `_control`, as `mcinterp.effects.effects` takes them; `keys_noise_floor` (nats). `options` go
    to `mcinterp.intervene.patching.patch`.

    Raises:
        InputError: for positions that a prompt lacks, or where no stage has a chat template.
    """
    rendered = chain.render(prompts, "chat")
    found = [
        xr.concat(
            [moved(pair_with_base(chain, number), rendered, where, seed, options) for where in patched], "patched"
        )
        for number in range(1, len(chain.stages))
    ]
    floor = max(float(each["noise_floor"].max(skipna=False)) for each in found)
    dataset = xr.concat([each.drop_vars("noise_floor") for each in found], dim="direction")
    dataset = dataset.assign_coords(patched=list(patched)).transpose("control", "prompt", ..., missing_dims="ignore")
    bare = with_completions(chain, rendered, [()] * len(rendered), "none")
    dataset = dataset.assign_coords(labels(chain.render(prompts, "raw")))
    described = describe(dataset.assign(keys_noise_floor=np.float32(floor)))
    return with_provenance(described, analysis="template_keys", seed=seed, **provenance(chain, bare))


def moved(pair: Chain, rendered: RenderedPrompts, positions: str, seed: int, options: dict[str, Any]) -> xr.Dataset:
    """Both directions of a pair with the key-values of all layers at some positions moved, and the noise floor."""
    ways = [f"{pair.names[0]}_to_{pair.names[1]}", f"{pair.names[1]}_to_{pair.names[0]}"]
    found = patch(
        pair, rendered, sites=("kv",), layers=[0], window=pair.base.n_layers, positions=positions, directions=ways,
        metrics=list(METRICS), interaction=False, seed=seed, **options,
    )  # fmt: skip
    names = [metric + end for metric in METRICS for end in ("", "_donor", "_recipient", "_control")]
    kept = found[[name for name in names if name in found]].squeeze(["site", "layer"], drop=True)
    kept = kept.drop_vars(["text", "rendering", "vocabulary", "vocabulary_string"], errors="ignore")
    kept = kept.rename({name: f"keys_{name}" for name in names if name in kept})
    return kept.assign(noise_floor=found.attrs["noise_floor"]).drop_attrs()
