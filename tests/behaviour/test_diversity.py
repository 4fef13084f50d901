"""Diversity of what stages write: recounted from the texts, zero between equal stages, and collapsed where it is."""

from itertools import pairwise

import numpy as np
import pytest
import torch
import xarray as xr

from mcinterp.behaviour.diversity.branching import along_samples, branching
from mcinterp.behaviour.diversity.features import pooled_features
from mcinterp.behaviour.diversity.measuring import diversity
from mcinterp.behaviour.diversity.settings import Sampling
from mcinterp.chain import Chain
from mcinterp.completions import Decoding
from mcinterp.diversity.bleu import self_bleu
from mcinterp.diversity.classes import EXACT, by_pairs
from mcinterp.diversity.encoders import encode_sentences
from mcinterp.diversity.information import mutual_information
from mcinterp.diversity.ngrams import expectation_adjusted_distinct
from mcinterp.diversity.occurrences import effective_number, in_top
from mcinterp.diversity.vendi import cosine_kernel, vendi_score
from mcinterp.errors import InputError
from mcinterp.prompts import Prompt, Prompts
from mcinterp.results import provenance_of
from mcinterp.samples import sample_stages
from mcinterp.show.behaviour.diversity import picture
from mcinterp.summary.behaviour.diversity import summary

TEXTS = ("one", "Are bugs real?", "Say it: a", "b", "two or more", "a joke", "it was")
TEMPLATES = ("s", "t", "u", "s", "t", "v", "v")
GENRES = ("joke", "joke", "poem", "poem", "poem", "joke", "poem")
PROMPTS = Prompts(
    tuple(
        Prompt(text, template=template, metadata={"genre": genre, "held_out": template == "v"})
        for text, template, genre in zip(TEXTS, TEMPLATES, GENRES, strict=True)
    )
)
SHORT = Sampling(
    samples=4,
    max_new_tokens=6,
    clusters=5,
    components=3,
    branching_samples=3,
    branching_tokens=5,
    permutations=4,
    top=2,
)


@pytest.fixture(scope="module")
def found(chain: Chain) -> xr.Dataset:
    return diversity(chain, PROMPTS, SHORT)


@pytest.fixture(scope="module")
def samples(chain: Chain) -> xr.Dataset:
    return sample_stages(chain, chain.render(PROMPTS), SHORT.decoding, samples=4)


def tokens(samples: xr.Dataset, stage: int, prompt: int) -> list[tuple[int, ...]]:
    return [tuple(row[row >= 0].tolist()) for row in samples["token_id"].values[stage, prompt]]


def test_measures_of_one_prompt_are_recounted_from_its_samples(
    found: xr.Dataset, samples: xr.Dataset, chain: Chain
) -> None:
    vocabulary = chain.alignment.vocabulary
    mean = pooled_features(chain.base, [t for p in range(7) for t in tokens(samples, 0, p)])
    mean = np.nanmean(mean, axis=0)
    for stage, prompt in ((0, 1), (1, 4), (2, 6)):
        one, own = found.isel(stage=stage, prompt=prompt), tokens(samples, stage, prompt)
        texts = one["completion"].values.tolist()
        assert texts == samples["completion"].values[stage, prompt].tolist()
        assert float(one["distinct_classes"].sel(equivalence="exact")) == len(set(texts))
        ead = expectation_adjusted_distinct(own, vocabulary)
        assert float(one["expectation_adjusted_distinct"]) == pytest.approx(ead, rel=1e-5)
        assert float(one["self_bleu"]) == pytest.approx(self_bleu(texts), rel=1e-5)
        pairs = [pair for text in own for pair in pairwise(text)]
        assert float(one["distinct_ngrams"].sel(ngram=2)) == pytest.approx(len(set(pairs)) / len(pairs), rel=1e-5)
        features = pooled_features(chain.base, [text for text in own if text]) - mean
        assert float(one["vendi_score"].sel(order=1)) == pytest.approx(vendi_score(cosine_kernel(features)), rel=1e-4)


def test_parts_of_pools_are_those_of_the_genre(found: xr.Dataset, samples: xr.Dataset) -> None:
    poems = np.flatnonzero(np.asarray(GENRES) == "poem")
    one = found.isel(stage=1, prompt=poems)
    labels = EXACT(one["completion"].values.ravel().tolist())
    exact = one.sel(equivalence="exact")
    assert float(exact["top_coverage"].mean()) == pytest.approx(in_top(labels, 2).mean())
    assert float(np.exp(exact["class_surprise"].mean())) == pytest.approx(effective_number(labels), rel=1e-5)
    sets = [[tokens(samples, 1, p)[k] for p in poems] for k in range(4)]
    expected = np.mean([len({token for text in each for token in text}) for each in sets])
    assert float(one["across_distinct"].sel(ngram=1).sum()) == pytest.approx(expected, rel=1e-5)
    clusters = one["output_cluster"].values
    information = mutual_information(clusters, draws=4)
    assert float(one["genre_information"].mean()) == pytest.approx(information, abs=1e-5)


def test_equal_stages_are_equally_diverse_to_the_last_digit(identical: Chain) -> None:
    same = diversity(identical, PROMPTS, SHORT)
    for name in same.data_vars:
        np.testing.assert_array_equal(same[name].values[0], same[name].values[1], err_msg=str(name))
    for entry in summary(same, draws=20)["cells"]:
        assert {value["mean"] for value in entry["differences"].values()} == {0.0}


def test_every_measure_says_how_it_was_made(found: xr.Dataset, chain: Chain) -> None:
    of_texts = {"completion", "ended", "n_tokens", "output_cluster", "output_component"}
    for name in set(found.data_vars) - of_texts:
        assert found[name].attrs["settings"], name
        assert found[name].dtype == np.float32, name
        assert "long_name" in found[name].attrs, name
    assert f"V={chain.alignment.vocabulary}" in found["expectation_adjusted_distinct"].attrs["settings"]
    record = provenance_of(found)
    assert (record["temperature"], record["samples"], record["top_p"]) == (1.0, 4, 0.9)


def test_a_callers_equivalence_and_utility_are_used(pair: Chain) -> None:
    first = {"letter": by_pairs(lambda a, b: a[:1] == b[:1])}
    one = diversity(pair, PROMPTS, SHORT, equivalences=first, utility=lambda prompt, text: float(len(prompt)))
    assert one["equivalence"].values.tolist() == ["letter"]
    texts = one["completion"].values[1, 2].tolist()
    assert float(one["distinct_classes"][1, 2, 0]) == len({text[:1] for text in texts})
    fresh = [text[:1] not in {other[:1] for other in texts[:i]} for i, text in enumerate(texts)]
    weights = 0.8 ** np.arange(4)
    expected = len(TEXTS[2]) * (weights * fresh).sum() / weights.sum()
    assert float(one["class_utility"][1, 2, 0]) == pytest.approx(expected, rel=1e-5)


def test_the_nucleus_is_both_sampled_and_measured(pair: Chain) -> None:
    rendered = pair.render(PROMPTS)
    decoding = Decoding(5, 1.0)
    tables = along_samples(pair, pair.tuned, rendered, decoding, 3, 0.6)
    full = along_samples(pair, pair.tuned, rendered, decoding, 3, None)
    assert np.nanmin(tables[1]) > -np.inf
    assert np.nanmean(tables[0]) < np.nanmean(full[0])
    ids = torch.tensor([rendered.token_ids[3]])
    with torch.inference_mode():
        logits = pair.tuned.bridge(ids)[0, -1, : pair.alignment.vocabulary]
    probabilities = logits.double().softmax(-1).sort(descending=True).values.numpy()
    kept = probabilities[: int(np.searchsorted(np.cumsum(probabilities), 0.6)) + 1]
    kept = kept / kept.sum()
    assert tables[0, 3, 0, 0] == pytest.approx(-(kept * np.log(kept)).sum(), abs=1e-4)
    assert np.exp(tables[1, 3, :, 0]) == pytest.approx(kept[np.abs(kept - np.exp(tables[1, 3, :, :1])).argmin(1)],
                                                       abs=1e-5)  # fmt: skip


def test_branching_is_exp_of_the_mean_entropy_along_samples(pair: Chain) -> None:
    rendered = pair.render(PROMPTS)
    tables = along_samples(pair, pair.base, rendered, Decoding(5, 1.0), 3, 0.9)
    factors = branching(pair, rendered, samples=3, max_new_tokens=5)
    np.testing.assert_allclose(factors[0], [np.exp(np.nanmean(each)) for each in tables[0]], rtol=1e-6)
    with pytest.raises(InputError, match="got top_p=1.5"):
        branching(pair, rendered, top_p=1.5)


def test_features_are_the_mean_over_a_texts_own_tokens(pair: Chain) -> None:
    texts = [(5, 9, 7), (), (8,), (5, 9, 7), (4, 4, 4, 4, 6)]
    found = pooled_features(pair.base, texts)
    assert np.isnan(found[1]).all()
    np.testing.assert_array_equal(found[0], found[3])
    first = tuple(pair.base.tokenizer("").input_ids) or (pair.base.tokenizer.eos_token_id,)
    for row in (0, 2, 4):
        with torch.inference_mode():
            _, cache = pair.base.bridge.run_with_cache(torch.tensor([[*first, *texts[row]]]))
        expected = cache["blocks.2.hook_resid_post"][0, len(first) :].double().mean(0).numpy()
        np.testing.assert_allclose(found[row], expected, atol=1e-5)


def test_settings_that_cannot_be_used_are_refused() -> None:
    with pytest.raises(InputError, match="got samples=1"):
        Sampling(samples=1)
    with pytest.raises(InputError, match="got clusters=0"):
        Sampling(clusters=0)


def test_the_summary_weighs_genres_alike_and_leaves_pools_to_whole_genres(found: xr.Dataset) -> None:
    cells = summary(found, draws=30)["cells"]
    exact = found["distinct_classes"].sel(equivalence="exact").isel(stage=2)
    by_genre = [float(exact[np.asarray(GENRES) == genre].mean()) for genre in ("joke", "poem")]
    one = next(c for c in cells if (c["genre"], c["prompts"], c["stage"]) == ("all", "all", "later"))
    assert one["levels"]["distinct_exact"]["mean"] == pytest.approx(np.mean(by_genre))
    low, high = one["levels"]["distinct_exact"]["ci_low"], one["levels"]["distinct_exact"]["ci_high"]
    assert low <= np.mean(by_genre) <= high
    np.testing.assert_allclose(
        one["levels"]["mauve"]["mean"], float(found["mauve"].isel(stage=2).mean("pool")), rtol=1e-5
    )
    held = next(c for c in cells if (c["genre"], c["prompts"], c["stage"]) == ("all", "held out", "later"))
    assert "top_coverage_exact" not in held["levels"]
    assert held["n_prompts"] == 2
    assert picture(found).to_dict()["vconcat"]


def test_the_pocket_stages_write_less_different_opinions(pocket: Chain) -> None:
    battery = Prompts.battery("diversity-pocket")
    chosen = [i for i, item in enumerate(battery.items) if item.metadata["genre"] in ("opinion", "story")][:6]
    two = Chain(pocket.stages[:2], pocket.alignment)
    how = Sampling(samples=6, max_new_tokens=24, clusters=6, branching_samples=2, branching_tokens=24)
    dataset = diversity(two, battery.select(chosen), how)
    opinion = dataset.sel(prompt=dataset["genre"] == "opinion")
    assert float(opinion["distinct_classes"].sel(equivalence="exact", stage="sft").mean()) <= 4
    assert float(opinion["branching_factor"].sel(stage="sft").mean()) < 1.05
    change = (dataset["expectation_adjusted_distinct"].isel(stage=1) / dataset["expectation_adjusted_distinct"].isel(
        stage=0)).groupby(dataset["genre"]).mean()  # fmt: skip
    assert float(change.sel(genre="opinion")) < 0.5 < 0.8 < float(change.sel(genre="story"))


def test_a_sentence_encoder_takes_the_place_of_the_bases_activations(chain: Chain) -> None:
    found = diversity(chain, PROMPTS, SHORT, encode=encode_sentences)
    assert provenance_of(found)["encoder"] == "encode_sentences"
    assert "encode_sentences" in found["vendi_score"].attrs["settings"]
    texts = found["completion"].values
    for stage, prompt in ((0, 1), (2, 6)):
        mean = encode_sentences([text for text in texts[0].ravel().tolist() if text])
        assert mean.shape[1] == 384
        own = encode_sentences(texts[stage, prompt].tolist())
        np.testing.assert_allclose(np.linalg.norm(own, axis=1), 1.0, atol=1e-5)
    with pytest.raises(InputError, match="one row a text"):
        diversity(chain, PROMPTS, SHORT, encode=lambda texts: np.zeros((1, 3)))


def test_the_encoder_knows_what_is_alike() -> None:
    one, other, far = encode_sentences(["The bride danced.", "The bride was dancing.", "Interest rates fell in March."])
    assert one @ other > 0.8 > 0.4 > one @ far
