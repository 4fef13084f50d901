"""Validity against diversity as the sampling temperature rises: does more temperature bring the base's variety back?

From the post "Mysteries of mode collapse": for the tuned model T = 1.4 changed little and T = 1.9 gave word salad,
still near the attractor. Every stage is sampled at every temperature. How valid the samples are is their mean
log-probability under the base at temperature 1 (word salad shows there), and, where the grammar of the documents is
known, the share that it allows; how diverse, the share of different texts and the entropy that they were drawn with.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from mcinterp.behaviour.temperature_curves.reading import read_tempered
from mcinterp.behaviour.temperature_curves.rollouts import labels
from mcinterp.chain import Chain
from mcinterp.completions import Decoding
from mcinterp.errors import InputError
from mcinterp.organisms import POCKET_STAGES, pocket_path
from mcinterp.prompts import Prompts
from mcinterp.rendering import RenderedPrompts
from mcinterp.results import describe, with_provenance
from mcinterp.samples import sample_stages
from mcinterp.sequences import provenance, with_completions

Ids = Sequence[int]
Judge = Callable[[Ids, Ids, bool], bool]
TEMPERATURES = (0.5, 0.7, 1.0, 1.4, 2.0)


def validity_curves(
    chain: Chain,
    prompts: Prompts,
    *,
    temperatures: Sequence[float] = TEMPERATURES,
    samples: int = 8,
    steps: int = 48,
    grammatical: Judge | None = None,
    rendering: Literal["raw", "chat"] = "raw",
    seed: int = 0,
) -> xr.Dataset:
    """What every stage writes at every temperature, how valid it is and how diverse.

    Over `stage, temperature, prompt`: `base_nll` (nats a token, over all tokens of the samples), `distinct` (share of
    different texts), `sampled_entropy` (nats a token, of the tempered distributions), `grammatical_share` (missing
    without `grammatical`, which says of prompt tokens, written tokens and whether they ended if they are allowed),
    `ended_share`, and over `sample` too `completion`.

    Raises `InputError` for fewer than two samples and temperatures that are not above 0, rising.
    """
    if samples < 2 or steps < 1:
        raise InputError(f"got samples={samples} and steps={steps}; give 2 or more samples and 1 or more steps.")
    if not temperatures or min(temperatures) <= 0 or list(temperatures) != sorted(set(temperatures)):
        raise InputError(f"got temperatures={tuple(temperatures)}; give rising ones above 0.")
    rendered = chain.render(prompts, rendering)
    pieces = [
        at_temperature(chain, rendered, Decoding(steps, float(temperature), seed=seed), samples, grammatical)
        for temperature in temperatures
    ]
    dataset = xr.concat(pieces, dim="temperature").assign_coords(
        {**labels(chain, prompts, rendered), "stage": list(chain.names), "temperature": list(map(float, temperatures))}
    )
    bare = with_completions(chain, rendered, [()] * len(rendered), "none")
    return with_provenance(
        describe(dataset), analysis="validity_curves", samples=samples, max_new_tokens=steps, seed=seed,
        rendering=rendering, battery=prompts.source, **provenance(chain, bare),
    )  # fmt: skip


def at_temperature(
    chain: Chain, rendered: RenderedPrompts, decoding: Decoding, samples: int, grammatical: Judge | None
) -> xr.Dataset:
    """All stages at one temperature."""
    found = sample_stages(chain, rendered, decoding, samples=samples, scored=False)
    texts = found["completion"].transpose("stage", "prompt", "sample").values
    read = [means(chain, rendered, found, name, decoding) for name in chain.names]
    data: dict[str, Any] = {
        "base_nll": [nll for nll, _ in read],
        "distinct": [[len(set(each)) / samples for each in stage] for stage in texts],
        "sampled_entropy": [entropy for _, entropy in read],
        "grammatical_share": grammatical_share(rendered, found, grammatical),
        "ended_share": found["ended"].mean("sample").transpose("stage", "prompt").values,
    }
    cells = {name: (("stage", "prompt"), np.asarray(values, dtype=np.float32)) for name, values in data.items()}
    return xr.Dataset({**cells, "completion": (("stage", "prompt", "sample"), texts)}).assign_coords(
        sample=np.arange(samples)
    )


def means(
    chain: Chain, rendered: RenderedPrompts, found: xr.Dataset, stage: str, decoding: Decoding
) -> tuple[np.ndarray, np.ndarray]:
    """Over all tokens that a stage wrote after each prompt: NLL under the base, and entropy of what they came from."""
    texts, steps = written(found.sel(stage=stage)), decoding.max_new_tokens
    before, ids = [rendered.token_ids[prompt] for prompt, _, _ in texts], [each for _, each, _ in texts]
    log_probs, _ = read_tempered(chain.base, before, ids, steps, [1.0] * len(ids))
    _, entropies = read_tempered(chain.stage(stage), before, ids, steps, [decoding.temperature] * len(ids))
    return over_tokens(-log_probs, len(rendered)), over_tokens(entropies, len(rendered))


def over_tokens(values: np.ndarray, prompts: int) -> np.ndarray:
    """The mean over all tokens of the samples of each prompt; missing where there is none."""
    table = values.reshape(prompts, -1)
    count = (~np.isnan(table)).sum(axis=1)
    return np.divide(np.nansum(table, axis=1), count, out=np.full(prompts, np.nan), where=count > 0)


def written(found: xr.Dataset) -> list[tuple[int, tuple[int, ...], bool]]:
    """Prompt, tokens and whether it ended of every sample of one stage."""
    one = found.transpose("prompt", "sample", "step")
    return [
        (prompt, tuple(int(index) for index in ids if index >= 0), bool(ended))
        for prompt, (texts, ends) in enumerate(zip(one["token_id"].values, one["ended"].values, strict=True))
        for ids, ended in zip(texts, ends, strict=True)
    ]


def grammatical_share(rendered: RenderedPrompts, found: xr.Dataset, grammatical: Judge | None) -> np.ndarray:
    """The share of every stage's samples that are allowed; missing without a judge."""
    shape = (found.sizes["stage"], len(rendered), -1)
    if grammatical is None:
        return np.full(shape[:2], np.nan)
    judged = [
        grammatical(rendered.token_ids[prompt], ids, ended)
        for stage in found["stage"].values.tolist()
        for prompt, ids, ended in written(found.sel(stage=stage))
    ]
    return np.asarray(judged, dtype=float).reshape(shape).mean(axis=-1)


def pocket_judge(chain: Chain) -> Judge | None:
    """The pocket grammar's word on documents, or none where the base is no shipped pocket checkpoint.

    A document is allowed where it has a positive probability; one that was cut, where it begins one that has.
    """
    from mcinterp.organisms.pocket import grammar_of

    shipped = {pocket_path(name).resolve() for name in POCKET_STAGES}
    if Path(chain.base.checkpoint.location).resolve() not in shipped:
        return None
    grammar, start = grammar_of(chain.base.tokenizer), chain.base.tokenizer.bos_token_id

    def judge(prompt: Ids, ids: Ids, ended: bool) -> bool:
        text = prompt[1:] if prompt and prompt[0] == start else prompt
        return grammar.accepts((*text, *ids, *((grammar.eos_id,) if ended else ())))

    return judge
