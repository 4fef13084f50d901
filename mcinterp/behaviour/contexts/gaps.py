"""Which contexts collapse: the entropy that a stage has lost after every prompt, and what the base alone says of it.

The post that this answers saw that not all prompts collapse, that summaries are copied nearly word for word, and asked
whether unlikely words in a prompt bring the collapse about.
"""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from mcinterp.behaviour.contexts.copying import copied_spans, copying_attention, other_prompts
from mcinterp.behaviour.contexts.reading import last_position, mean_over_steps, surprise
from mcinterp.behaviour.contexts.spans import longest_repeated_span
from mcinterp.chain import Chain
from mcinterp.completions import Decoding
from mcinterp.prompts import Prompts
from mcinterp.rendering import RenderedPrompts
from mcinterp.results import describe, with_provenance
from mcinterp.samples import read_written, sample_stages
from mcinterp.sequences import provenance, with_completions

SHORT = Decoding(max_new_tokens=12, temperature=1.0)


def contexts(
    chain: Chain, prompts: Prompts, decoding: Decoding = SHORT, *, rendering: str = "raw", samples: int = 4
) -> xr.Dataset:
    """How much entropy every stage has lost after every prompt, with predictors that need the base alone.

    Over `stage, prompt`: what `contexts_reading.last_position` reads; `context_gap`, base minus stage at the last
    prompt position; and `context_gap_along`, the same over a short completion, both stages on the same tokens, mean
    over what the base and what the stage writes (all in nats). Over `prompt` the predictors: `base_surprise` (mean NLL
    of the prompt), `copyable_span` (tokens of its longest repeated n-gram), `copying_attention`, `is_question`,
    `n_tokens`, `base_entropy`, and as coordinates `template`, `genre` and `frame`. Over `stage, prompt, sample`:
    `copied_span`, `copied_share`, `copied_span_by_chance`.

    Raises:
        InputError: for prompts that the context cannot hold, an unknown rendering, or fewer than one sample.
    """
    rendered = chain.render(prompts, rendering)
    written = sample_stages(chain, rendered, decoding, samples=samples, scored=False)
    found = last_position(chain, rendered)
    gap = (found["entropy"].isel(stage=0, drop=True) - found["entropy"]).transpose("stage", "prompt")
    found = found.assign(context_gap=gap, context_gap_along=gap_along(chain, rendered, written))
    found = found.assign(predictors(chain, rendered, prompts)).assign_coords(kinds(prompts, rendered))
    others = other_prompts(rendered.templates, decoding.seed)
    found = found.assign(copied_spans(written, rendered.token_ids, others))
    bare = with_completions(chain, rendered, [()] * len(rendered), "none")
    how = {"temperature": decoding.temperature, "seed": decoding.seed, "max_new_tokens": decoding.max_new_tokens}
    return with_provenance(
        describe(found), analysis="contexts", samples=samples, renderings=rendering, **how, **provenance(chain, bare)
    )


def gap_along(chain: Chain, rendered: RenderedPrompts, written: xr.Dataset) -> xr.DataArray:
    """Mean entropy of the base minus that of every stage along what the two of them wrote; missing if both ended."""
    gaps = np.zeros((len(chain.stages), len(rendered)), dtype=np.float32)
    texts = [tokens_of(written.isel(stage=number)) for number in range(len(chain.stages))]
    before = [ids for ids in rendered.token_ids for _ in range(written.sizes["sample"])]
    steps, shape = written.sizes["step"], (len(rendered), -1)

    def entropies(reader: int, writer: int) -> np.ndarray:
        return read_written(chain.stages[reader], before, texts[writer], steps)[1].reshape(shape)

    plain = entropies(0, 0)
    gaps[0] = np.where(np.isnan(mean_over_steps(plain)), np.nan, 0.0)
    for number in range(1, len(chain.stages)):
        along_base = mean_over_steps(plain - entropies(number, 0))
        along_own = mean_over_steps(entropies(0, number) - entropies(number, number))
        gaps[number] = mean_over_steps(np.stack([along_base, along_own], axis=-1))
    return xr.DataArray(gaps, dims=("stage", "prompt"))


def tokens_of(samples: xr.Dataset) -> list[tuple[int, ...]]:
    """The tokens of every prompt's samples, one after the other."""
    rows = samples["token_id"].transpose("prompt", "sample", "step").values
    return [tuple(int(i) for i in row if i >= 0) for row in rows.reshape(-1, rows.shape[-1])]


def predictors(chain: Chain, rendered: RenderedPrompts, prompts: Prompts) -> dict[str, xr.DataArray]:
    """What may predict the gap, none of it read from a tuned stage."""
    entropy = last_position(Chain(chain.stages[:1], chain.alignment), rendered)["entropy"]
    named: dict[str, Sequence[float] | np.ndarray] = {
        "base_surprise": surprise(chain.base, rendered),
        "copyable_span": [longest_repeated_span(ids) for ids in rendered.token_ids],
        "copying_attention": copying_attention(chain.base, rendered),
        "is_question": ["?" in prompts.items[i].text for i in rendered.prompt_index],
        "n_tokens": [len(ids) for ids in rendered.token_ids],
        "base_entropy": entropy.values[0],
    }
    return {name: xr.DataArray(np.asarray(values, dtype=np.float32), dims="prompt") for name, values in named.items()}


def kinds(prompts: Prompts, rendered: RenderedPrompts) -> dict[str, tuple[str, list[str]]]:
    """Genre, frame and rendering of every prompt; `other` where the battery names none."""
    items = [prompts.items[i] for i in rendered.prompt_index]
    named = {name: [str(item.metadata.get(name, "other")) for item in items] for name in ("genre", "frame")}
    return {name: ("prompt", values) for name, values in {**named, "rendering": list(rendered.renderings)}.items()}
