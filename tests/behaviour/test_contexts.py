"""Which contexts collapse: known spans and fits, equality with plain loops, zeros on an identical pair."""

import numpy as np
import pytest
import torch
import xarray as xr

from mcinterp.behaviour.contexts.gaps import contexts
from mcinterp.behaviour.contexts.precedent import after, first_paragraph, precedent, raters
from mcinterp.behaviour.contexts.prediction import predict_gap
from mcinterp.behaviour.contexts.reading import last_position, surprise
from mcinterp.behaviour.contexts.regression import explained, held_out, ridge, standardised
from mcinterp.behaviour.contexts.spans import longest_common_span, longest_repeated_span
from mcinterp.chain import Chain
from mcinterp.completions import Decoding
from mcinterp.errors import InputError
from mcinterp.prompts import Prompt, Prompts
from mcinterp.show.behaviour.contexts import picture
from mcinterp.summary.behaviour.contexts import summary

TEXTS = ["Is it?", "a b a b", "Say it: a", "one", "two"]
PROMPTS = Prompts(
    tuple(
        Prompt(text, template=f"t{i % 3}", metadata={"genre": "ask" if i < 2 else "say", "frame": "plain"})
        for i, text in enumerate(TEXTS)
    )
)


def test_spans() -> None:
    assert longest_common_span([1, 2, 3, 4], [9, 2, 3, 4, 1]) == 3
    assert longest_common_span([1, 2], [3]) == 0 == longest_common_span([], [1])
    assert longest_repeated_span([1, 2, 3, 9, 1, 2, 3]) == 3
    assert longest_repeated_span([5, 5, 5, 5]) == 2
    assert longest_repeated_span([1, 2, 3]) == 0 == longest_repeated_span([])


def test_spans_equal_a_plain_search() -> None:
    random = np.random.default_rng(0)
    for _ in range(30):
        one, other = random.integers(3, size=9).tolist(), random.integers(3, size=7).tolist()
        pieces = {tuple(other[i:j]) for i in range(7) for j in range(i + 1, 8)}
        spans = [j - i for i in range(9) for j in range(i + 1, 10) if tuple(one[i:j]) in pieces]
        assert longest_common_span(one, other) == max(spans, default=0)
        repeats = [
            n for n in range(1, 5) for i in range(9) for k in range(i + n, 10 - n) if one[i : i + n] == one[k : k + n]
        ]
        assert longest_repeated_span(one) == max(repeats, default=0)


def test_ridge_is_the_closed_form() -> None:
    random = np.random.default_rng(1)
    x, y = random.normal(size=(11, 3)), random.normal(size=11)
    slopes, level = ridge(x, y, 2.0)
    inner = x - x.mean(0)
    np.testing.assert_allclose(slopes, np.linalg.inv(inner.T @ inner + 2 * np.eye(3)) @ inner.T @ (y - y.mean()))
    assert level == pytest.approx(y.mean() - x.mean(0) @ slopes)
    slopes, level = ridge(x, x @ [1.0, -2.0, 0.5] + 3.0, 0.0)
    np.testing.assert_allclose(slopes, [1.0, -2.0, 0.5], atol=1e-9)
    assert level == pytest.approx(3.0)


def test_held_out_predictions_never_see_their_group() -> None:
    random = np.random.default_rng(2)
    x, groups = random.normal(size=(12, 2)), [f"g{i % 4}" for i in range(12)]
    y = x @ [2.0, -1.0] + 1.0
    predicted, guessed = held_out(x, y, groups, 0.0)
    np.testing.assert_allclose(predicted, y)
    assert explained(y, predicted, guessed) == pytest.approx(1.0)
    assert explained(y, guessed, guessed) == 0.0
    changed = y.copy()
    changed[[0, 4, 8]] += 100.0
    again, mean = held_out(x, changed, groups, 1.0)
    first = held_out(x, y, groups, 1.0)
    np.testing.assert_array_equal(again[[0, 4, 8]], first[0][[0, 4, 8]])
    np.testing.assert_array_equal(mean[[0, 4, 8]], first[1][[0, 4, 8]])
    with pytest.raises(InputError, match="give 2 or more"):
        held_out(x, y, ["one"] * 12, 1.0)


def test_missing_and_constant_features_count_nothing() -> None:
    x = np.array([[1.0, np.nan, 7.0], [3.0, np.nan, 7.0], [np.nan, np.nan, 7.0]])
    np.testing.assert_allclose(standardised(x, x), [[-1, 0, 0], [1, 0, 0], [0, 0, 0]])


def test_gap_and_surprise_equal_single_passes(chain: Chain) -> None:
    rendered = chain.render(PROMPTS)
    found = contexts(chain, PROMPTS, Decoding(3, 1.0), samples=2)
    surprised = surprise(chain.base, rendered)
    for index, ids in enumerate(rendered.token_ids):
        entropies = []
        for stage in chain.stages:
            with torch.no_grad():
                logits = stage.bridge(torch.tensor([ids]))[0].float().log_softmax(-1)
            entropies.append(float(-(logits[-1].exp() * logits[-1]).sum()))
            if stage is chain.base:
                nll = -logits[:-1].gather(1, torch.tensor(ids[1:])[:, None]).mean()
                assert surprised[index] == pytest.approx(float(nll), abs=1e-4)
        gaps = found["context_gap"].transpose("prompt", "stage").values[index]
        np.testing.assert_allclose(gaps, entropies[0] - np.asarray(entropies), atol=1e-4)
    assert found["is_question"].values.tolist() == [1, 0, 0, 0, 0]
    assert found["copyable_span"].values[1] == 3  # "a b" and "a b" apart, the space between them shared
    np.testing.assert_allclose(found["base_entropy"], found["entropy"].isel(stage=0), atol=1e-5)
    assert bool(((found["copying_attention"] >= 0) & (found["copying_attention"] <= 1 + 1e-5)).all())
    assert bool((found["copied_span"] <= 3).all())


def test_end_tokens_stand_apart(chain: Chain) -> None:
    found = last_position(chain, chain.render(PROMPTS))
    ids = chain.render(PROMPTS).token_ids[0]
    with torch.no_grad():
        q = chain.tuned.bridge(torch.tensor([ids]))[0, -1].float().softmax(-1)
    end = sorted(chain.tuned.end_tokens)
    rest = q.clone()
    rest[end] = 0
    rest = rest / rest.sum()
    one = found.isel(stage=-1, prompt=0)
    assert float(one["end_probability"]) == pytest.approx(float(q[end].sum()), abs=1e-5)
    assert float(one["entropy_without_end"]) == pytest.approx(float(torch.special.entr(rest).sum()), abs=1e-4)


def test_an_identical_pair_has_no_gap(identical: Chain) -> None:
    found = contexts(identical, PROMPTS, Decoding(3, 1.0), samples=2)
    whole = xr.merge(
        [predict_gap(found, draws=10), precedent(identical, PROMPTS, shots=(0, 1)), raters(identical, PROMPTS)],
        combine_attrs="override",
        compat="override",
    )
    for name in ("context_gap", "context_gap_along", "shot_gap", "rater_gap", "pooled_gap"):
        values = whole[name].values
        assert (values[~np.isnan(values)] == 0).all()
    last = summary(whole)[identical.names[-1]]
    assert last["context_gap"] == {"mean": 0.0, "ci_low": 0.0, "ci_high": 0.0}
    assert "hconcat" in picture(whole).to_dict()


def test_predictions_are_added_by_model(chain: Chain) -> None:
    found = predict_gap(contexts(chain, PROMPTS, Decoding(2, 1.0), samples=1), draws=10)
    assert found["predicted_gap"].dims == ("model", "stage", "prompt")
    assert bool(found["predicted_gap"].isel(stage=0).isnull().all())
    assert "genre=ask" in found["predictor"].values
    with pytest.raises(InputError, match="has no 'nothing'"):
        predict_gap(found, "nothing")


def test_precedents_stand_before_the_prompt(chain: Chain) -> None:
    made = after(Prompt("Q:"), [" one", " two"])
    assert made.text == "Q: one\n\nQ: two\n\nQ:"
    assert [m["content"] for m in made.conversation] == ["Q:", "one", "Q:", "two", "Q:"]
    assert first_paragraph("\n a b\n\nc") == "\n a b"
    assert first_paragraph("\n ") == ""
    given = Prompts(tuple(Prompt(text, metadata={"answers": [" x", " y"]}) for text in ("one", "two")))
    found = precedent(chain, given, shots=(0, 2))
    read = last_position(chain, chain.render(Prompts.from_texts(["one x\n\none y\n\none"])))
    got = found["shot_entropy"].sel(prompt=0, shots=2, precedent="diverse")
    np.testing.assert_allclose(got, read["entropy"].isel(prompt=0), atol=1e-5)
    with pytest.raises(InputError, match="give numbers of 0 or more"):
        precedent(chain, given, shots=(-1,))


def test_what_a_rater_says_is_the_mixture_minus_the_mean(chain: Chain) -> None:
    found = raters(chain, Prompts.from_texts(["one"]), numbers=(1, 2))
    ids = chain.render(Prompts.from_texts(["Rater #1: one", "Rater #2: one"])).token_ids
    with torch.no_grad():
        q = torch.stack([chain.tuned.bridge(torch.tensor([each]))[0, -1].float().softmax(-1) for each in ids])
    entropy = torch.special.entr(q).sum(-1).mean()
    pooled = torch.special.entr(q.mean(0)).sum()
    one = found.isel(stage=-1, prompt=0)
    assert float(one["rater_entropy"]) == pytest.approx(float(entropy), abs=1e-4)
    assert float(one["rater_information"]) == pytest.approx(float(pooled - entropy), abs=1e-4)
    with pytest.raises(InputError, match="give 2 or more"):
        raters(chain, Prompts.from_texts(["one"]), numbers=(1,))


def test_batteries_name_what_regressions_need() -> None:
    for name in ("contexts", "contexts-pocket"):
        items = Prompts.battery(name).items
        assert len(items) >= 100
        assert len({item.template for item in items}) >= 10
        assert all({"genre", "frame", "held_out"} <= set(item.metadata) for item in items)
