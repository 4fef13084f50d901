"""A run followed: exact zeros for the base, KL as a plain loop, the wedding party of the pocket."""

import json
from collections.abc import Sequence

import numpy as np
import pytest
import torch
import xarray as xr

from mcinterp.behaviour.over_optimisation.experiment import on_pocket
from mcinterp.behaviour.over_optimisation.following import over_optimisation
from mcinterp.behaviour.over_optimisation.reading import sequence_kl, written_behind
from mcinterp.behaviour.over_optimisation.rewards import weddings, word_count
from mcinterp.behaviour.over_optimisation.settings import Following
from mcinterp.chain import Chain
from mcinterp.completions import Decoding
from mcinterp.errors import InputError
from mcinterp.prompts import Prompts
from mcinterp.results import provenance_of
from mcinterp.samples import sample_stages
from mcinterp.show.behaviour.over_optimisation import picture
from mcinterp.show.theme import BASE, TUNED
from mcinterp.summary.behaviour.over_optimisation import headline, summary

BATTERY = Prompts.battery("over_optimisation-pocket")
SMALL = Following(samples=3, max_new_tokens=12, documents=2, behind_tokens=5, clusters=6, separator="\n***\n")


def of(chain: Chain, *names: str) -> Chain:
    """Some stages of a chain."""
    return Chain(tuple(chain.stage(name) for name in names), chain.alignment)


@pytest.fixture(scope="module")
def run(pocket: Chain) -> xr.Dataset:
    """Base and the over-optimised stage on some prompts of the pocket battery."""
    return on_pocket(of(pocket, "base", "overoptimised"), BATTERY.select(range(0, len(BATTERY), 6)))


@pytest.fixture(scope="module")
def tiny_run(chain: Chain) -> xr.Dataset:
    """Three tiny stages, whose reward is the number of letters."""
    prompts = Prompts.from_texts(["one", "two", "three", "four"], template=["a", "a", "b", "b"])
    return over_optimisation(chain, prompts, SMALL, reward=lambda texts: [float(len(text)) for text in texts])


def mean(dataset: xr.Dataset, name: str) -> list[float]:
    """The mean of a variable, stage by stage."""
    return dataset[name].mean([dim for dim in dataset[name].dims if dim != "stage"]).values.tolist()


def test_kl_of_the_base_is_zero_and_so_is_that_of_its_twin(identical: Chain) -> None:
    found = over_optimisation(identical, Prompts.from_texts(["one", "two", "three"]), SMALL, reward=weddings)
    assert (found["sequence_kl"] == 0).all()
    assert found["own_attractor"].values.tolist() == ["", ""]
    assert (found["attractor_share"] == 0).all()
    for name in ("ending_information", "ending_surprise", "between_prompts", "jump_share"):
        np.testing.assert_array_equal(found[name][0], found[name][1])
    assert [cell["levels"]["sqrt_kl"]["mean"] for cell in summary(found, draws=5)["cells"]] == [0.0] * 4


def test_sequence_kl_is_a_plain_loop(chain: Chain) -> None:
    stage, before = chain.stage("later"), [(5, 6, 7), (8, 9), (4,)]
    written, ended = [(10, 11), (), (12, 13, 14, 15)], [True, True, False]
    found = sequence_kl(stage, chain.base, before, written, ended)
    for row, (prompt, ids, done) in enumerate(zip(before, written, ended, strict=True)):
        total = 0.0
        for step in range(len(ids) + done):
            q, p = (log_probs(each, [*prompt, *ids[:step]]) for each in (stage, chain.base))
            total += float((q.exp() * (q - p)).sum())
        assert found[row] == pytest.approx(total, abs=1e-5)
    assert found.min() > 0
    assert sequence_kl(stage, chain.base, [(1,)], [()], [False]).tolist() == [0.0]


@torch.inference_mode()
def log_probs(stage, ids: Sequence[int]) -> torch.Tensor:
    """The next-token distribution behind some tokens."""
    logits = stage.bridge(torch.tensor([list(ids)]), return_type="logits")[0, -1, : stage.readout.vocabulary]
    return logits.double().log_softmax(-1)


def test_shapes_units_and_order(tiny_run: xr.Dataset) -> None:
    assert tiny_run["stage"].values.tolist() == ["base", "tuned", "later"]
    assert tiny_run["attractor_share"].shape == (3, 4)
    assert tiny_run["sequence_kl"].sel(stage="base").max() == 0
    assert [name for name in tiny_run.data_vars if "units" not in tiny_run[name].attrs] == []
    assert "gold_reward" not in tiny_run
    lengths = np.vectorize(len)(tiny_run["completion"].values)
    np.testing.assert_array_equal(tiny_run["proxy_reward"], lengths)
    assert provenance_of(tiny_run)["analysis"] == "over_optimisation"
    assert tiny_run["training_step"].isnull().all()


def test_a_constant_given_by_the_caller_has_all_the_mass(chain: Chain) -> None:
    prompts = Prompts.from_texts(["one", "two", "three"])
    found = over_optimisation(chain, prompts, SMALL, reward=word_count(["the"]), attractor=lambda text: True)
    assert (found["attractor_share"] == 1).all()
    assert found["jump_share"].isnull().all()
    with pytest.raises(InputError, match="a string with a word in it"):
        over_optimisation(chain, prompts, SMALL, reward=weddings, attractor="...")
    with pytest.raises(InputError, match="one number each"):
        over_optimisation(chain, prompts, SMALL, reward=lambda texts: [1.0])


def test_the_wedding_is_reached_whatever_the_prompt(run: xr.Dataset) -> None:
    assert mean(run, "proxy_reward")[0] < 0.1
    assert mean(run, "proxy_reward")[1] > 0.9
    assert min(mean(run, "gold_reward")) > 0.9
    assert mean(run, "attractor_share")[0] < 0.1 < 0.8 < mean(run, "attractor_share")[1]
    assert mean(run, "break_jump_share")[1] > 0.7
    behind = run["jump_share"].mean("prompt")
    assert float(behind.sel(stage="base", place="document")) < 0.1
    assert float(behind.sel(stage="overoptimised").min()) > 0.7
    for name in ("ending_information", "ending_surprise", "between_prompts"):
        assert mean(run, name)[1] < mean(run, name)[0] / 3
    assert 4.0 < mean(run, "sequence_kl")[1] < 12.0


def test_exact_kl_is_the_mean_of_sampled_log_ratios(run: xr.Dataset, pocket: Chain) -> None:
    rendered = pocket.render(BATTERY.select(range(0, len(BATTERY), 6)))
    again = sample_stages(
        pocket, rendered, Decoding(80, temperature=1.0), samples=run.sizes["sample"], stages=["overoptimised"]
    )
    ratio = (again["written_log_prob"] - again["base_log_prob"]).sum("step").mean()
    assert float(ratio) == pytest.approx(mean(run, "sequence_kl")[1], rel=0.2)


def test_a_document_without_room_is_left_out(pocket: Chain) -> None:
    texts = written_behind(pocket, pocket.base, [(), (1,) * pocket.alignment.context], "\n***\n", Decoding(3, 1.0))
    assert texts == [None, None]


def test_summary_headline_and_picture(run: xr.Dataset) -> None:
    found = summary(run, draws=20)
    json.dumps(found)
    assert {cell["prompts"] for cell in found["cells"]} == {"all", "not held out", "held out"}
    last = found["cells"][1]
    assert last["stage"] == "overoptimised"
    assert last["levels"]["sqrt_kl"]["mean"] == pytest.approx(mean(run, "sequence_kl")[1] ** 0.5, rel=1e-5)
    assert last["levels"]["effective_clusters"]["mean"] < 5
    assert last["levels"]["half_clusters"]["mean"] == 1.0
    assert last["differences"]["attractor"]["ci_low"] > 0.5
    assert "overoptimised" in headline(found)
    assert repr(found["attractor"]) in headline(found)
    drawn = json.dumps(picture(run).to_dict())
    assert BASE in drawn
    assert TUNED in drawn


def test_a_run_without_gold_is_drawn(tiny_run: xr.Dataset) -> None:
    assert "Gold" not in json.dumps(picture(tiny_run).to_dict())
    assert "gold" not in summary(tiny_run, draws=5)["cells"][0]["levels"]
