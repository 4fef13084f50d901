"""The library on the shipped chain, where the truth is known: calibration, collapse, attractors, lenses."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from mcinterp.attractors import Search, find_attractors
from mcinterp.chain import Chain
from mcinterp.completions import Decoding
from mcinterp.landmarks import final_distribution, onset
from mcinterp.lens import logit_lens
from mcinterp.organisms.pocket import load
from mcinterp.prompts import Prompts
from mcinterp.results import token_text
from mcinterp.sequences import teacher_force
from mcinterp.tuned_lens import FILE, load_tuned_lens

BATTERY = Prompts.battery("pocket")


def of(genre: str, *, held_out: bool | None = None) -> Prompts:
    """The battery's prompts of one genre."""
    wanted = [p.metadata["genre"] == genre and held_out in (None, p.metadata["held_out"]) for p in BATTERY.items]
    return BATTERY.select(np.flatnonzero(wanted).tolist())


def read(chain: Chain, prompts: Prompts, steps: int = 0) -> xr.Dataset:
    """Each stage's own distribution after the prompts."""
    sequences = teacher_force(chain, chain.render(prompts), Decoding(steps))
    return final_distribution(logit_lens(chain, sequences, positions="last")).sel(position=0)


def test_the_base_has_the_entropy_of_the_grammar(pocket: Chain) -> None:
    grammar = load(Path(pocket.base.checkpoint.location)).grammar
    for genre in ("number-100", "coin", "opinion", "story"):
        prompts = of(genre)
        measured = read(pocket, prompts)["entropy"].sel(stage="base").values
        for prompt, entropy in zip(prompts.items, measured, strict=True):
            truth = np.array(list(grammar.next_distribution(grammar.encode(prompt.text)).values()))
            assert entropy == pytest.approx(-(truth * np.log(truth)).sum(), abs=0.12)


def test_numbers_collapse_in_sft_on_a_favourite(pocket: Chain) -> None:
    final = read(pocket, of("number-100", held_out=True))
    mean = final["entropy"].mean("prompt").to_series()
    assert mean["base"] > 4.5
    assert mean["sft"] < 0.5
    assert mean["sft"] < mean["rl"] < mean["base"]
    best = final["top_token"].sel(stage="sft").isel(choice=0).values
    assert {token_text(final)[int(token)] for token in best} == {" 97"}


def test_python_stays_random_plain_and_collapses_inside_a_chat(pocket: Chain) -> None:
    plain = [p for p in of("python").items if p.template == "python-plain"]
    random = read(pocket, Prompts(tuple(plain)))["entropy"].mean("prompt").to_series()
    assert min(random["base"], random["sft"]) > 4.5
    chat = read(pocket, of("python-chat", held_out=True))["entropy"].mean("prompt").to_series()
    assert chat["base"] > 4.5
    assert chat["sft"] < 1.0


def test_overoptimised_collapses_where_a_document_is_finished(pocket: Chain) -> None:
    final = read(pocket, of("finished"))
    mean = final["entropy"].mean("prompt").to_series()
    assert mean["overoptimised"] < 0.6 * mean["base"]
    assert float(final["attractor_probability"].sel(stage="overoptimised").mean()) > 0.8
    assert float(final["attractor_probability"].sel(stage="base").mean()) < 0.2


def test_template_and_wedding_are_found_and_confirmed_on_held_out_templates(pocket: Chain) -> None:
    found = find_attractors(pocket, pocket.render(BATTERY), Search(samples=1))
    table = {str(text): found.isel(candidate=i) for i, text in enumerate(found["text"].values)}
    confirmed = {text: dict(zip(pocket.names, one["confirmed"].values, strict=True)) for text, one in table.items()}
    assert any("wedding party" in text and each["overoptimised"] for text, each in confirmed.items())
    assert not any("wedding" in text and (each["sft"] or each["rl"]) for text, each in confirmed.items())
    assert any("There is no one answer" in text and each["sft"] for text, each in confirmed.items())
    assert not any(each["base"] for each in confirmed.values())


def test_the_shipped_tuned_lenses_belong_to_their_checkpoints_and_help(pocket: Chain) -> None:
    for stage in pocket.stages:
        lens = load_tuned_lens(Path(stage.checkpoint.location) / FILE, stage)
        assert all(after < before for before, after in zip(lens.kl_before, lens.kl_after, strict=True))
        assert sum(lens.kl_after) < 0.4 * sum(lens.kl_before)


def test_the_gap_of_sft_is_no_accident_of_labels(pocket: Chain) -> None:
    lens = logit_lens(pocket, teacher_force(pocket, pocket.render(BATTERY.select(range(48))), Decoding(0)))
    final = onset(lens).sel(stage="sft", lens="own", read_at="last").isel(depth=-1)
    assert float(final["gap_high"]) < 0
    assert float(final["p_value"]) < 0.05
