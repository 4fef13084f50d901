"""How diverse are the samples of every stage: of one prompt, across prompts, and against those of the base?

From "Mysteries of mode collapse" and its comments: near-identical replies at temperature 1, over 90 % of 1008 jokes the
same 25, and the wish for an FID for text. A measure of diversity means nothing without its temperature, number of
samples, vocabulary and encoder, which each variable carries in its attribute `settings`.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
import xarray as xr

from mcinterp.behaviour.diversity import measures
from mcinterp.behaviour.diversity.branching import branching
from mcinterp.behaviour.diversity.distances import DISTANCES, distances, pieces_of
from mcinterp.behaviour.diversity.features import ENCODER, pooled_features
from mcinterp.behaviour.diversity.settings import DEFAULT, Sampling
from mcinterp.behaviour.labels import genres_of, prompt_labels
from mcinterp.chain import Chain
from mcinterp.diversity.branching import branching_factor
from mcinterp.diversity.classes import EQUIVALENCES, Partition
from mcinterp.diversity.clusters import components, k_means
from mcinterp.diversity.encoders import Encode
from mcinterp.errors import InputError
from mcinterp.prompts import Prompts
from mcinterp.rendering import RenderedPrompts
from mcinterp.results import describe, provenance_of, with_provenance
from mcinterp.samples import sample_stages
from mcinterp.statistics import mean_over_prompts

CELL = ("stage", "prompt")
WRITTEN = (*CELL, "sample")


def diversity(
    chain: Chain,
    prompts: Prompts,
    settings: Sampling = DEFAULT,
    *,
    rendering: Literal["raw", "chat"] = "raw",
    equivalences: Mapping[str, Partition] = EQUIVALENCES,
    utility: measures.Utility | None = None,
    encode: Encode | None = None,
) -> xr.Dataset:
    """Every measure of diversity of every stage's samples, prompt by prompt, with its settings in its attributes.

    Of one prompt's K samples, over `stage, prompt`: `distinct_classes` and `class_utility` (over `equivalence`),
    `distinct_ngrams` (over `ngram`), `expectation_adjusted_distinct`, `self_bleu`, `vendi_score` (over `order`),
    `branching_factor` (nucleus) and `branching_factor_full` (whole vocabulary, from the K samples themselves). Of the
    outputs of a genre, as every prompt's part: `top_coverage`, `unseen_mass`, `class_surprise` (exp of its mean is the
    effective number), `across_distinct` of `across_ngrams`, `genre_information`; among all prompts
    `prompt_information`. Against the base, over `stage, pool` (a genre): `frechet_distance`, `mauve` and
    `frontier_integral`. Over `sample` too: `completion`, `ended`, `n_tokens`, `output_cluster` (-1: none) and
    `output_component`.

    `equivalences` name partitions of texts into classes (see `mcinterp.diversity.classes`); `utility` gives the worth
    of a completion after a prompt. Features of outputs are the base's own pooled activations, or those of `encode`
    (`mcinterp.diversity.encoders.encode_sentences`, or any function of texts to an array over text and feature).
    Raises `InputError` for settings that cannot be used, prompts that do not fit the context, and features that are
    not one row a text.
    """
    rendered = chain.render(prompts, rendering)
    samples = sample_stages(chain, rendered, settings.decoding, samples=settings.samples)
    genres = genres_of(prompts, rendered)
    texts, tokens = samples["completion"].transpose(*WRITTEN).values, tokens_of(samples)
    encoder = ENCODER if encode is None else getattr(encode, "__name__", str(encode))
    features = features_of(chain, tokens) if encode is None else encoded(encode, texts)
    found = measures.of_classes(texts, rendered.texts, equivalences, utility, settings)
    found |= measures.of_tokens(tokens, chain.alignment.vocabulary, settings) | measures.of_texts(texts)
    found |= measures.of_pools(texts, genres, equivalences, settings)
    found |= measures.across_inputs(tokens, genres, chain.alignment.vocabulary, settings)
    found |= measures.of_features(features, settings, encoder)
    clustered = clusters_of(features, settings)
    found |= measures.of_clusters(clustered["output_cluster"][1], genres, settings, encoder)
    found |= branching_factors(chain, rendered, samples, settings)
    dataset = samples[["completion", "ended", "n_tokens"]].assign(clustered).assign(with_settings(found))
    dataset = dataset.assign_coords(labels(prompts, rendered, genres, equivalences, settings))
    dataset = dataset.assign(distances_by_pool(dataset, encoder))
    how = {name: value for name, value in asdict(settings).items() if name not in ("lengths", "orders")}
    source = {**provenance_of(samples), "analysis": "diversity", "encoder": encoder, "battery": prompts.source,
              "vocabulary": chain.alignment.vocabulary}  # fmt: skip
    return with_provenance(describe(dataset), **{**source, **how, "rendering": rendering})


def labels(
    prompts: Prompts, rendered: RenderedPrompts, genres: list[str], equivalences: Mapping[str, Any], how: Sampling
) -> dict[str, Any]:
    """Names of everything, and what the battery says of every prompt."""
    return {
        **prompt_labels(prompts, rendered),
        "equivalence": list(equivalences),
        "ngram": list(how.lengths),
        "order": list(how.orders),
        "pool": list(dict.fromkeys(genres)),
    }


def tokens_of(samples: xr.Dataset) -> list[list[list[tuple[int, ...]]]]:
    """The token ids that were written, by stage, prompt and sample."""
    ids = samples["token_id"].transpose(*WRITTEN, "step").values
    return [[[tuple(row[row >= 0].tolist()) for row in cell] for cell in stage] for stage in ids]


def features_of(chain: Chain, tokens: list[list[list[tuple[int, ...]]]]) -> np.ndarray:
    """The features of every output, over stage, prompt, sample and feature."""
    shape = (len(tokens), len(tokens[0]), len(tokens[0][0]))
    flat = [text for stage in tokens for cell in stage for text in cell]
    return pooled_features(chain.base, flat).reshape(*shape, -1)


def encoded(encode: Encode, texts: np.ndarray) -> np.ndarray:
    """The features that an encoder gives every output, each different text once; missing where nothing was written."""
    unique = sorted({text for text in texts.ravel().tolist() if text})
    found = np.asarray(encode(unique), dtype=float) if unique else np.zeros((0, 1))
    if found.ndim != 2 or len(found) != len(unique):
        raise InputError(f"the encoder gave an array of shape {found.shape} for {len(unique)} texts; one row a text.")
    rows = dict(zip(unique, found, strict=True))
    nothing = np.full(found.shape[1], np.nan)
    return np.stack([rows.get(text, nothing) for text in texts.ravel().tolist()]).reshape(*texts.shape, -1)


def clusters_of(features: np.ndarray, how: Sampling) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
    """Clusters and first components of all outputs together, in units of the base's own spread."""
    flat = features.reshape(-1, features.shape[-1])
    there = np.isfinite(flat).all(axis=1)
    spread = float(np.sqrt(np.nanvar(features[0], axis=(0, 1)).sum())) or 1.0
    reduced = components(flat[there] / spread, variance=how.variance, at_most=how.components)
    k = min(how.clusters, len(np.unique(reduced.values, axis=0)))
    cluster = np.full(len(flat), -1, dtype=np.int32)
    cluster[there] = k_means(reduced.values, k, seed=how.seed)
    component = np.full((len(flat), reduced.values.shape[1]), np.nan, dtype=np.float32)
    component[there] = reduced.values
    shape = features.shape[:3]
    return {
        "output_cluster": (WRITTEN, cluster.reshape(shape)),
        "output_component": ((*WRITTEN, "component"), component.reshape(*shape, -1)),
    }


def branching_factors(
    chain: Chain, rendered: RenderedPrompts, samples: xr.Dataset, how: Sampling
) -> measures.Variables:
    """The branching factor as published, and of the full vocabulary along the samples that are there already."""
    nucleus = branching(
        chain, rendered, samples=how.branching_samples, max_new_tokens=how.branching_tokens, top_p=how.top_p,
        seed=how.seed,
    )  # fmt: skip
    entropies, log_probs = (
        samples[name].transpose(*WRITTEN, "step").values.astype(float)
        for name in ("written_entropy", "written_log_prob")
    )
    full = measures.cells(entropies.shape, lambda s, p: branching_factor(entropies[s, p], log_probs[s, p]))
    named = f"M={how.branching_samples} samples of at most {how.branching_tokens} tokens, top-p={how.top_p:g}"
    whole = f"M={how.samples} samples of at most {how.max_new_tokens} tokens, full vocabulary"
    return {
        "branching_factor": (CELL, nucleus.astype(np.float32), f"{named}, renormalised"),
        "branching_factor_full": (CELL, full, f"{whole}, drawn at temperature {how.temperature:g}"),
    }


def with_settings(found: measures.Variables) -> dict[str, xr.Variable]:
    """Every variable with its settings as an attribute."""
    return {name: xr.Variable(dims, values, {"settings": how}) for name, (dims, values, how) in found.items()}


def distances_by_pool(dataset: xr.Dataset, encoder: str) -> dict[str, xr.Variable]:
    """The distances of every stage from the base in every genre."""
    parts, *sizes = pieces_of(dataset)
    genres = dataset["genre"].values
    found = [distances(mean_over_prompts(parts[genres == pool]), *sizes) for pool in dataset["pool"].values.tolist()]
    values = np.stack(found).astype(np.float32).transpose(1, 2, 0)
    named = f"{sizes[0]} clusters, {sizes[1]} components, even samples against the base's odd ones, {encoder}"
    return {
        name: xr.Variable(("stage", "pool"), each, {"settings": named})
        for name, each in zip(DISTANCES, values, strict=True)
    }
