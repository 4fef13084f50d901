"""The proof on checkpoints where the truth is known: one site made the whole difference, or none was left out."""

import numpy as np
import pytest
import torch
import xarray as xr
from transformers import AutoModelForCausalLM, AutoTokenizer

from mcinterp.chain import Chain, load_pair
from mcinterp.completions import Decoding, complete_many
from mcinterp.divergence import entropy, kl_divergence, log_probs, token_log_prob
from mcinterp.errors import InputError
from mcinterp.intervene.inputs import as_sequences
from mcinterp.organisms import pocket_path
from mcinterp.prompts import Prompts
from mcinterp.results import load, provenance_of, save
from mcinterp.sequences import teacher_force
from mcinterp.verification import verifying
from mcinterp.verification.bench import edited
from mcinterp.verification.verifying import verify
from mcinterp.weights.grafts import grafted
from mcinterp.weights.tensors import slots_of

BATTERY = Prompts.battery("pocket")
SITES = ["unembed", "0.mlp", "5.mlp", "0.attn"]
SMALL = {"random_sets": 3, "samples": 3, "new_tokens": 5}


def of(genre: str, *, held_out: bool) -> Prompts:
    wanted = [p.metadata["genre"] == genre and p.metadata["held_out"] is held_out for p in BATTERY.items]
    return BATTERY.select(np.flatnonzero(wanted).tolist())


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """The pocket base, and the same with one MLP overdriven, which narrows its opinions."""
    folder = tmp_path_factory.mktemp("planted")
    model = AutoModelForCausalLM.from_pretrained(pocket_path("base"), dtype=torch.float32)
    model.model.layers[4].mlp.down_proj.weight.data *= 12
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(pocket_path("base")).save_pretrained(folder)
    return load_pair("pocket:base", str(folder), names=["base", "tuned"])


@pytest.fixture(scope="module")
def numbers() -> Chain:
    return load_pair("pocket:base", "pocket:sft")


@pytest.fixture(scope="module")
def proof(numbers: Chain) -> xr.Dataset:
    """Numbers between 0 and 100, which tuning collapsed."""
    held_out = of("number-100", held_out=True)
    return verify(numbers, of("number-100", held_out=False), SITES, held_out=held_out, **SMALL)


def mean_entropy(found: xr.Dataset, edit: str) -> float:
    return float(found["entropy"].sel(edit=edit, prompt=found["part"] == "located").astype(float).mean())


def test_the_planted_site_regains_everything(planted: Chain) -> None:
    found = verify(planted, of("opinion", held_out=False), ["4.mlp", "1.attn"], controls=["Count to three:"], **SMALL)
    assert found["edit"].values.tolist() == ["tuned", "base", "1 site", "temperature"]
    assert (found.attrs["chosen"], found.attrs["chosen_sites"], found.attrs["random_pool"]) == ("1 site", "4.mlp", 0)
    assert found.attrs["regain_reached"] == pytest.approx(1.0, abs=1e-4)
    base, edit = found.sel(edit="base"), found.sel(edit="1 site")
    for name in found.data_vars:
        np.testing.assert_allclose(edit[name], base[name], atol=1e-4)
    assert float(found["control_kl"].sel(edit="1 site").min()) > 0


def test_another_site_regains_nothing_and_the_random_set_is_the_planted_one(planted: Chain) -> None:
    found = verify(planted, of("opinion", held_out=False), ["1.attn", "2.mlp", "unembed"], most_sites=2, **SMALL)
    assert found["edit"].values.tolist() == ["tuned", "base", "1 site", "2 sites", "random 1", "temperature"]
    assert found.attrs["regain_reached"] == 0
    assert found["sites"].sel(edit="random 1") == "4.mlp"
    assert mean_entropy(found, "random 1") == pytest.approx(mean_entropy(found, "base"), abs=1e-5)
    for name in found.data_vars:
        np.testing.assert_array_equal(found[name].sel(edit="1 site"), found[name].sel(edit="tuned"))


def test_sites_are_added_until_enough_is_back(numbers: Chain, proof: xr.Dataset) -> None:
    assert proof["sites"].values.tolist()[2:6] == [", ".join(SITES[:count]) for count in (1, 2, 3, 4)]
    assert (proof.attrs["chosen"], proof.attrs["controls"]) == ("4 sites", "battery:pocket")
    lost = mean_entropy(proof, "base") - mean_entropy(proof, "tuned")
    share = [
        (mean_entropy(proof, f"{n} site{'s' * (n > 1)}") - mean_entropy(proof, "tuned")) / lost for n in range(1, 5)
    ]
    assert share[2] < 0.8 <= share[3]
    assert proof.attrs["regain_reached"] == pytest.approx(share[3], abs=1e-6)
    few = verify(numbers, of("number-100", held_out=False), SITES, regain=0.3, controls=(), **SMALL)
    assert few.attrs["chosen"] == "2 sites"
    assert "3 sites" not in few["edit"]
    most = verify(numbers, of("number-100", held_out=False), SITES, most_sites=3, controls=(), **SMALL)
    assert (most.attrs["chosen"], most["n_sites"].sel(edit="random 1").item()) == ("3 sites", 3)
    named = set(SITES[:3])
    assert not any(named & set(sites.split(", ")) for sites in most["sites"].sel(edit=most["kind"] == "random").values)


def test_readings_are_those_of_a_plain_loop(numbers: Chain, proof: xr.Dataset) -> None:
    prompts = [*of("number-100", held_out=False).items, *of("number-100", held_out=True).items]
    ids = as_sequences(numbers, Prompts(tuple(prompts))).ids
    assert proof["part"].values.tolist() == [["located", "held_out"][p.metadata["held_out"]] for p in prompts]
    with torch.inference_mode(), grafted(numbers, SITES[:2]) as stage:
        edit, base = (
            [log_probs(each.bridge(torch.tensor([one]))[0, -1]) for one in ids] for each in (stage, numbers.base)
        )
    found = proof.sel(edit="2 sites")
    np.testing.assert_allclose(found["entropy"], [float(entropy(q)) for q in edit], atol=1e-4)
    kl = [float(kl_divergence(q, p)) for q, p in zip(edit, base, strict=True)]
    np.testing.assert_allclose(found["kl_to_base"], kl, atol=1e-4)


def test_the_temperature_has_the_entropy_of_the_chosen_edit(numbers: Chain, proof: xr.Dataset) -> None:
    temperature = proof["temperature"].sel(edit="temperature").item()
    assert mean_entropy(proof, "temperature") == pytest.approx(mean_entropy(proof, "4 sites"), abs=1e-4)
    assert proof.attrs["temperature_capped"] == 0
    ids = as_sequences(numbers, of("number-100", held_out=False)).ids
    with torch.inference_mode():
        logits = [numbers.tuned.bridge(torch.tensor([one]))[0, -1].double() for one in ids]
    by_hand = np.mean([float(entropy(log_probs(each / temperature))) for each in logits])
    assert by_hand == pytest.approx(mean_entropy(proof, "4 sites"), abs=1e-4)
    assert (proof["control_agreement"].sel(edit="temperature") == 1).all()


def test_controls_are_read_along_the_tuned_answers(numbers: Chain, proof: xr.Dataset) -> None:
    assert (proof["control_kl"].sel(edit="tuned") == 0).all()
    assert (proof["control_agreement"].sel(edit="tuned") == 1).all()
    texts = proof["control_text"].values.tolist()
    answers = teacher_force(numbers, as_sequences(numbers, texts).prompts, Decoding(SMALL["new_tokens"]))
    assert proof["control_answer"].values.tolist() == ["".join(tokens) for tokens in answers.completion_tokens]
    for number in (0, 3, len(texts) - 1):
        prompt, whole = answers.prompts.token_ids[number], torch.tensor([answers.ids[number]])
        rows = slice(len(prompt) - 1, len(prompt) - 1 + SMALL["new_tokens"])
        with torch.inference_mode():
            tuned = log_probs(numbers.tuned.bridge(whole)[0, rows])
            with grafted(numbers, SITES) as stage:
                edit = log_probs(stage.bridge(whole)[0, rows])
        found = proof.isel(control=number).sel(edit="4 sites")
        assert found["control_kl"] == pytest.approx(float(kl_divergence(tuned, edit).mean()), abs=1e-5)
        assert found["control_agreement"] == float((tuned.argmax(-1) == edit.argmax(-1)).float().mean())


def test_samples_are_drawn_alike_and_scored_under_the_base(numbers: Chain, proof: xr.Dataset) -> None:
    ids = as_sequences(numbers, of("number-100", held_out=False)).ids
    with grafted(numbers, SITES) as stage:
        texts = complete_many(stage, ids, Decoding(5, 1.0), context=numbers.alignment.context, samples=3)
    found = proof.sel(edit="4 sites").isel(prompt=range(len(ids)))
    np.testing.assert_allclose(found["distinct"], [len(set(each)) / 3 for each in texts], rtol=1e-6)
    with torch.inference_mode():
        for number in (0, 5):
            scores = []
            for text in texts[number]:
                whole = torch.tensor([[*ids[number], *text]])
                logits = numbers.base.bridge(whole)[0, len(ids[number]) - 1 : -1]
                scores += (-token_log_prob(log_probs(logits), torch.tensor(text))).tolist()
            assert found["sample_nll"][number] == pytest.approx(np.mean(scores), abs=1e-4)
    kinds = proof["kind"].values[proof["distinct"].notnull().all("prompt").values].tolist()
    assert kinds == ["tuned", "base", "sites", "random", "random", "random", "temperature"]
    assert float(proof["sample_nll"].sel(edit="temperature").mean()) > 2 * float(found["sample_nll"].mean())


def test_several_positions_are_averaged(numbers: Chain) -> None:
    prompts = as_sequences(numbers, of("number-100", held_out=False)).prompts.select(range(3))
    sequences = teacher_force(numbers, prompts, Decoding(2))
    found = verify(numbers, sequences, SITES[:1], reads=(0, 1), controls=(), **SMALL)["entropy"]
    for number, (prompt, ids) in enumerate(zip(prompts.token_ids, sequences.ids, strict=True)):
        for stage, edit in zip(numbers.stages, ("base", "tuned"), strict=True):
            with torch.inference_mode():
                rows = log_probs(stage.bridge(torch.tensor([ids]))[0, len(prompt) - 1 : len(prompt) + 1])
            assert found.sel(edit=edit)[number] == pytest.approx(float(entropy(rows).mean()), abs=1e-4)


def test_without_controls_there_are_no_control_variables(numbers: Chain) -> None:
    found = verify(numbers, of("number-100", held_out=False), SITES[:1], controls=(), **SMALL)
    assert found.attrs["controls"] == "none"
    assert "control" not in found.dims


def test_where_nothing_was_lost_nothing_can_come_back(identical: Chain) -> None:
    with pytest.raises(InputError, match=r"lost 0 nats of entropy on these prompts and 0.1 are wanted"):
        verify(identical, ["one", "two"], ["1.mlp"])


def test_weights_are_back_bit_for_bit_also_after_an_error(
    numbers: Chain, proof: xr.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {name: slot.tensor.clone() for name, slot in slots_of(numbers.tuned).items()}

    def interrupted(bench, edits, *_: object) -> dict:
        with edited(bench.chain, edits[2]):
            raise KeyboardInterrupt

    monkeypatch.setattr(verifying, "written_values", interrupted)
    with pytest.raises(KeyboardInterrupt):
        verify(numbers, of("number-100", held_out=False), SITES, **SMALL)
    fresh = load_pair("pocket:base", "pocket:sft")
    for stage, other in zip(numbers.stages, fresh.stages, strict=True):
        there = slots_of(other)
        assert all(torch.equal(slot.tensor, there[name].tensor) for name, slot in slots_of(stage).items())
    assert all(torch.equal(slot.tensor, before[name]) for name, slot in slots_of(numbers.tuned).items())


def test_the_same_seed_gives_the_same_proof(numbers: Chain, proof: xr.Dataset) -> None:
    held_out = of("number-100", held_out=True)
    again = verify(numbers, of("number-100", held_out=False), SITES, held_out=held_out, **SMALL)
    xr.testing.assert_identical(again, proof)


def test_results_say_their_units_and_come_back_from_disk(proof: xr.Dataset, tmp_path) -> None:
    assert [name for name in proof.data_vars if "units" not in proof[name].attrs] == []
    assert load(save(proof, tmp_path / "proof.nc")).equals(proof)
    made = provenance_of(proof)
    assert (made["analysis"], made["sites"], made["reads"], made["samples"]) == ("verify", SITES, [0], 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"regain": 0.0}, "got regain=0.0; give a share"),
        ({"regain": 1.1}, "got regain=1.1; give a share"),
        ({"most_sites": 0}, "got most_sites=0; give 1 or more"),
        ({"random_sets": -1}, "got random_sets=-1; give 0 or more"),
        ({"new_tokens": 0}, "got new_tokens=0; give 1 or more"),
        ({"sites": ["9.mlp"]}, "got '9.mlp' for groups by component"),
        ({"sites": "unembed"}, "got 'unembed' for sites; give a list"),
        ({"attractor": 10**6}, "attractor 1000000 is no token id"),
        ({"reads": (1,)}, r"got read_at=\[1\]"),
    ],
)
def test_bad_requests_are_refused(numbers: Chain, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        verify(numbers, of("number-100", held_out=False), **{"sites": SITES, **options})


def test_held_out_prompts_too_short_to_be_read_are_refused(numbers: Chain) -> None:
    prompts = as_sequences(numbers, of("number-100", held_out=False)).prompts.select(range(3))
    with pytest.raises(InputError, match=r"got reads=\[1\] and prompt 3 has 0 tokens behind it"):
        verify(numbers, teacher_force(numbers, prompts, Decoding(2)), SITES, reads=[1], held_out=["one"])
