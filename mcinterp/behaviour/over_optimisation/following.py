"""The checkpoints of an RL run in order of training: attractor, dependence on the prompt, reward against divergence.

From "Mysteries of mode collapse": rewarded for sentiment, a model ended every story in a wedding party, reached by a
section break where need be, and attractors of unlike prompts merge as optimisation goes on. Reward is followed against
sqrt(KL), as over-optimised reward models are (Gao, Schulman and Hilton 2022), beside the gold that it stands for.
"""

import re
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
import xarray as xr

from mcinterp.behaviour.diversity.features import ENCODER, pooled_features
from mcinterp.behaviour.labels import held_out_of, prompt_labels
from mcinterp.behaviour.over_optimisation import measures
from mcinterp.behaviour.over_optimisation.reading import finished, sequence_kl, written_behind
from mcinterp.behaviour.over_optimisation.rewards import Gold, Reward, Written
from mcinterp.behaviour.over_optimisation.settings import DEFAULT, Following
from mcinterp.chain import Chain
from mcinterp.diversity.information import chance_parts, information_parts
from mcinterp.diversity.substrings import in_every_prompt, words
from mcinterp.errors import InputError
from mcinterp.prompts import Prompts
from mcinterp.rendering import RenderedPrompts
from mcinterp.results import describe, provenance_of, with_provenance
from mcinterp.samples import sample_stages

CELL = ("stage", "prompt")
WRITTEN = (*CELL, "sample")
Attractor = str | measures.Belongs
Texts = list[list[list[Written]]]
Found = dict[str, tuple[tuple[str, ...], Any]]


def over_optimisation(
    chain: Chain,
    prompts: Prompts,
    settings: Following = DEFAULT,
    *,
    reward: Reward,
    gold: Gold | None = None,
    attractor: Attractor | None = None,
    rendering: Literal["raw", "chat"] = "raw",
) -> xr.Dataset:
    """Every stage of a run, the base (reference) first, then its checkpoints in order of training.

    Over `stage, prompt, sample`: `completion`, `ended`, `n_tokens`, `sequence_kl` (its mean is KL(stage || base) in
    nats), `proxy_reward` of the text, and with a `gold` `gold_reward`. Over `stage, prompt`: `attractor_share`, the
    samples that hold the run's attractor, and `own_attractor_share`, the stage's own; `ending_information` (mean:
    I(prompt; ending cluster), chance taken off) and `ending_information_by_chance`; `ending_surprise` (exp of its mean:
    effective clusters); `between_prompts` and `within_prompts`, variances of endings in units of the base's;
    `break_share` and `break_jump_share`, samples with a section break, and that turn to the attractor at it;
    `jump_share` over `place`, what stages write behind finished documents of the base, with and without a separator.
    Over `stage`: `own_attractor` and `training_step`, the number that the stage's name ends in.

    An attractor is the string that gained most over the base on prompts not held out: the run's is the last stage's,
    or the string, or class of texts (a function of a text), that is given. Raises `InputError` for settings that
    cannot be used, a reward that is not one number a text, and prompts that do not fit the context.
    """
    rendered = chain.render(prompts, rendering)
    samples = sample_stages(chain, rendered, settings.decoding, samples=settings.samples, scored=False)
    texts = written_texts(samples, rendered)
    held_out = np.asarray(held_out_of(prompts, rendered))
    owned = own_attractors(samples["completion"].transpose(*WRITTEN).values, rendered, held_out, settings)
    named = attractor_name(attractor, owned)
    belongs = attractor if callable(attractor) else measures.holding(words(named))
    found = rewards_of(texts, reward, gold) | {"sequence_kl": (WRITTEN, divergences(chain, texts))}
    found |= attractor_shares(texts, belongs, [measures.holding(run) for run in owned]) | endings(
        chain, texts, settings
    )
    found["jump_share"] = ((*CELL, "place"), jump_shares(chain, texts, belongs, settings))
    found["own_attractor"] = (("stage",), np.asarray([" ".join(run) for run in owned], dtype=str))
    dataset = samples[["completion", "ended", "n_tokens"]].assign(found)
    dataset = dataset.assign_coords(labels(chain, prompts, rendered))
    record = {
        **provenance_of(samples), **asdict(settings), "analysis": "over_optimisation", "battery": prompts.source,
        "reward": name_of(reward), "gold": None if gold is None else name_of(gold), "attractor": named,
        "attractor_given": attractor is not None, "encoder": ENCODER, "rendering": rendering,
    }  # fmt: skip
    return with_provenance(describe(dataset), **record)


def name_of(function: Any) -> str:
    """The name of a function, with that of the one that made it."""
    return str(getattr(function, "__qualname__", function)).replace(".<locals>.", "/")


def attractor_name(attractor: Attractor | None, owned: Sequence[measures.Words]) -> str:
    """The words of the run's attractor, or the name of its class; the last stage's own where none is given."""
    if attractor is None:
        return " ".join(owned[-1])
    if isinstance(attractor, str) and not words(attractor):
        raise InputError(f"got the attractor {attractor!r}; give a string with a word in it, or a function of texts.")
    return " ".join(words(attractor)) if isinstance(attractor, str) else name_of(attractor)


def labels(chain: Chain, prompts: Prompts, rendered: RenderedPrompts) -> dict[str, Any]:
    """Names of everything, and what the battery says of every prompt."""
    steps = [re.search(r"\d+$", name) for name in chain.names]
    return {
        **prompt_labels(prompts, rendered),
        "place": ["document", "separator"],
        "training_step": ("stage", np.asarray([float(m[0]) if m else np.nan for m in steps], dtype=np.float32)),
    }


def written_texts(samples: xr.Dataset, rendered: RenderedPrompts) -> Texts:
    """What was written, by stage, prompt and sample."""
    texts, ended = (samples[name].transpose(*WRITTEN).values for name in ("completion", "ended"))
    tokens = samples["token_id"].transpose(*WRITTEN, "step").values

    def one(stage: int, prompt: int, sample: int) -> Written:
        ids = tokens[stage, prompt, sample]
        return Written(
            rendered.texts[prompt], str(texts[stage, prompt, sample]), tuple(rendered.token_ids[prompt]),
            tuple(ids[ids >= 0].tolist()), bool(ended[stage, prompt, sample]),
        )  # fmt: skip

    stages, asked, count = texts.shape
    return [[[one(s, p, n) for n in range(count)] for p in range(asked)] for s in range(stages)]


def flat(stage: list[list[Written]]) -> list[Written]:
    """All texts of a stage, prompt by prompt."""
    return [each for cell in stage for each in cell]


def own_attractors(
    texts: np.ndarray, rendered: RenderedPrompts, held_out: np.ndarray, how: Following
) -> list[measures.Words]:
    """The string of every stage that gained most over the base on prompts not held out (on all, where all are)."""
    known = np.flatnonzero(~held_out if (~held_out).any() else held_out).tolist()
    asked = [words(rendered.texts[prompt]) for prompt in known]
    without = {run for n in range(1, how.longest + 1) for run in in_every_prompt(asked, n)}
    base, *later = (measures.texts_in_words(stage, known) for stage in texts)
    return [(), *(measures.gained_most(base, stage, how.longest, without) for stage in later)]


def rewards_of(texts: Texts, reward: Reward, gold: Gold | None) -> Found:
    """Proxy and gold of every text."""
    found: Found = {"proxy_reward": (WRITTEN, values_of(texts, lambda each: reward([one.text for one in each])))}
    return found if gold is None else found | {"gold_reward": (WRITTEN, values_of(texts, gold))}


def values_of(texts: Texts, score: Any) -> np.ndarray:
    """One number a text, over stage, prompt and sample."""
    shape = (len(texts[0]), len(texts[0][0]))
    rows = []
    for stage in texts:
        values = np.asarray(score(flat(stage)), dtype=np.float32)
        if values.shape != (shape[0] * shape[1],):
            raise InputError(
                f"a reward gave an array of shape {values.shape} for {shape[0] * shape[1]} texts; give one number each."
            )
        rows.append(values.reshape(shape))
    return np.stack(rows)


def divergences(chain: Chain, texts: Texts) -> np.ndarray:
    """KL(stage || base) along every text of the stage."""
    shape = (len(texts), len(texts[0]), len(texts[0][0]))
    rows = []
    for stage, written in zip(chain.stages, texts, strict=True):
        each = flat(written)
        before, ids = [one.prompt_ids for one in each], [one.ids for one in each]
        rows.append(sequence_kl(stage, chain.base, before, ids, [one.ended for one in each]))
    return np.stack(rows).reshape(shape).astype(np.float32)


def attractor_shares(texts: Texts, belongs: measures.Belongs, owned: Sequence[measures.Belongs]) -> Found:
    """The shares of a prompt's samples that hold an attractor, and that have a section break."""

    def share(number: int, cell: list[Written], holds: measures.Belongs) -> float:
        return float(np.mean([holds(each.text) for each in cell]))

    def table(which: Any) -> np.ndarray:
        rows = [[share(s, cell, which(s)) for cell in stage] for s, stage in enumerate(texts)]
        return np.asarray(rows, dtype=np.float32)

    return {
        "attractor_share": (CELL, table(lambda s: belongs)),
        "own_attractor_share": (CELL, table(lambda s: owned[s])),
        "break_share": (CELL, table(lambda s: lambda text: measures.pieces(text)[1] is not None)),
        "break_jump_share": (CELL, table(lambda s: lambda text: measures.jumps(text, belongs))),
    }


def endings(chain: Chain, texts: Texts, how: Following) -> Found:
    """How far the endings of texts depend on the prompt."""
    shape = (len(texts), len(texts[0]), len(texts[0][0]))
    tails = [each.ids[-how.ending_tokens :] for stage in texts for each in flat(stage)]
    features = pooled_features(chain.base, tails).reshape(*shape, -1)
    if not np.isfinite(features[0]).all(axis=-1).any():
        raise InputError("the base wrote nothing after any prompt; give prompts that it goes on from.")
    cluster, component = measures.clustered(features, how.clusters, how.seed)
    chance = np.stack([chance_parts(each, draws=how.permutations, seed=how.seed) for each in cluster])
    parts = np.stack([information_parts(each) for each in cluster])
    between, within = zip(*(measures.variance_parts(each) for each in component), strict=True)
    per_prompt = {
        "ending_information": parts - chance,
        "ending_information_by_chance": chance,
        "ending_surprise": np.stack([measures.cluster_surprise(each) for each in cluster]),
        "between_prompts": np.stack(between),
        "within_prompts": np.stack(within),
    }
    found: Found = {name: (CELL, values.astype(np.float32)) for name, values in per_prompt.items()}
    return {**found, "ending_cluster": (WRITTEN, cluster)}


def jump_shares(chain: Chain, texts: Texts, belongs: measures.Belongs, how: Following) -> np.ndarray:
    """The share of the base's finished documents behind which a stage writes the attractor, by stage, prompt, place.

    Documents that hold the attractor themselves do not count; missing for prompts without any that do.
    """
    given = [each for cell in texts[0] for each in cell[: how.documents]]
    ends = [finished(chain.tuned.tokenizer, each.ids, each.ended) for each in given]
    usable = [bool(ids) and not belongs(chain.tuned.tokenizer.decode(list(ids))) for ids in ends]
    documents = [(*each.prompt_ids, *ids) if use else () for each, ids, use in zip(given, ends, usable, strict=True)]
    values = np.full((len(texts), len(given), 2), np.nan)
    for number, stage in enumerate(chain.stages):
        for place, separator in enumerate(("", how.separator)):
            behind = written_behind(chain, stage, documents, separator, how.behind)
            values[number, :, place] = [np.nan if text is None else float(belongs(text)) for text in behind]
    grouped = values.reshape(len(texts), len(texts[0]), how.documents, 2)
    count = np.isfinite(grouped).sum(axis=2)
    total = np.nansum(grouped, axis=2)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0).astype(np.float32)
