"""The gate: nothing where nothing collapsed, the right place and prompts where something did."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from mcinterp.chain import Chain, load_pair
from mcinterp.completions import Decoding
from mcinterp.errors import InputError
from mcinterp.localisation.gate import extend, figures_of, gate, judged_prompts
from mcinterp.localisation.reading import read_ends
from mcinterp.localisation.thresholds import Thresholds
from mcinterp.prompts import Prompts
from mcinterp.sequences import teacher_force, with_completions

TEXTS = ["Are bugs real?", "Pick a number:", "one", "One more time", "What is it?", "Say it:"]


def table(fall: list[float], base: float = 4.0, kl: float = 1.0, rise: float = 0.0) -> xr.Dataset:
    """What a gate reads, with given losses of entropy."""
    n = len(fall)
    limits = Thresholds()
    read = xr.Dataset(
        {
            "entropy_base": ("prompt", np.full(n, base)),
            "entropy_tuned": ("prompt", base - np.asarray(fall)),
            "kl_tuned_to_base": ("prompt", np.full(n, kl)),
        },
        coords={"template": ("prompt", [str(i) for i in range(n)])},
    )
    found = (read["entropy_base"] - read["entropy_tuned"]).rename("fall")
    read = read.assign(fall=found, rise=xr.full_like(found, rise))
    read["collapsed"] = (found >= limits.fall) & (kl >= limits.kl)
    read["strong"] = (found >= np.maximum(limits.strong_fall, base / 2)) & (kl >= limits.kl)
    read["risen"] = -found >= np.maximum(limits.strong_fall, read["entropy_tuned"] / 2)
    read["formatting"] = xr.zeros_like(found).astype(bool)
    return read.assign_attrs(least_fall=limits.fall)


@pytest.mark.parametrize(
    ("read", "passed"),
    [
        (table([3.0] * 8), True),
        (table([0.0] * 8), False),
        (table([-3.0] * 8), False),
        (table([0.2] * 8), False),
        (table([0.5] * 8), True),
        (table([3.0] * 8, kl=0.05), False),
        (table([1.0, -1.0] * 4), False),
        (table([3.0] * 3 + [0.0] * 60), True),
        (table([3.0] * 2 + [0.0] * 60), False),
        (table([3.0] * 3 + [-4.0] * 3 + [0.0] * 60), False),
        (table([1.0] * 8, rise=1.0), False),
    ],
)
def test_a_collapse_is_large_in_absolute_terms(read: xr.Dataset, passed: bool) -> None:
    assert figures_of(read, Thresholds())["passed"] is passed


def test_an_identical_pair_has_nowhere(identical: Chain) -> None:
    found = gate(identical, identical.render(Prompts.from_texts(TEXTS)))
    assert not found.passed
    assert list(found.tried) == ["last", "divergence"]
    assert found.figures["kl_tuned_to_base"] == 0.0
    assert found.figures["entropy_fall"]["mean"] == 0.0


def test_the_wrong_way_round_is_none() -> None:
    pair = load_pair("pocket:sft", "pocket:base")
    found = gate(pair, pair.render(Prompts.battery("pocket")))
    assert not found.passed
    assert found.figures["n_risen"] > 30


def test_the_pocket_stage_collapses_on_its_tuned_genres() -> None:
    pair = load_pair("pocket:base", "pocket:sft")
    battery = Prompts.battery("pocket")
    found = gate(pair, pair.render(battery))
    assert found.passed
    assert found.at == "last"
    genres = np.asarray([prompt.metadata["genre"] for prompt in battery.items])
    strong = set(genres[found.table["strong"].values])
    assert {"opinion", "number-100", "python-chat"} <= strong
    assert not strong & {"repeat", "count", "capital", "coin", "die"}
    assert len(found.sequences) == found.figures["n_collapsed"]


def test_an_extended_prompt_is_read_where_the_completion_was(pair: Chain) -> None:
    """The distribution behind prompt and k tokens is the same whether the tokens are completion or prompt."""
    rendered = pair.render(Prompts.from_texts(TEXTS))
    written = teacher_force(pair, rendered, Decoding(4))
    along = read_ends(pair, written, (0, 1, 2, 3))
    longer = extend(pair, rendered, [completion[:2] for completion in written.completions])
    behind = read_ends(pair, with_completions(pair, longer, [()] * len(longer), "none"), (0,))
    for name in ("entropy_base", "entropy_tuned", "kl_tuned_to_base", "top_probability"):
        np.testing.assert_allclose(behind[name].sel(position=0), along[name].sel(position=2), atol=1e-5)


def test_formatting_moves_the_reading_on(real: Path) -> None:
    """The tuned checkpoint begins its answers with a space or line break; content comes later."""
    pair = load_pair(str(real / "own-gpt-base"), str(real / "own-gpt-sft"))
    texts = ["Q: What is a bond?\nA:", "Q: What is a stock?\nA:", "Q: What is risk?\nA:", "Q: What is cash?\nA:"]
    rendered = pair.render(Prompts.from_texts(texts))
    found = gate(pair, rendered)
    assert found.at == "divergence"
    assert found.passed
    assert found.tried["last"]["formatting"] > 0.5
    assert all(token.strip() for token in found.table["followed"].values.tolist())


def test_white_space_is_formatting(pair: Chain) -> None:
    rendered = pair.render(Prompts.from_texts(TEXTS))
    read = read_ends(pair, with_completions(pair, rendered, [()] * len(rendered), "none"), (0,))
    read = read.isel(position=0, drop=True)
    space = pair.base.tokenizer(" ", add_special_tokens=False).input_ids[0]
    letter = pair.base.tokenizer("e", add_special_tokens=False).input_ids[0]
    tokens = np.asarray([space, letter] * 3, dtype=np.int32)
    judged = judged_prompts(pair, read.assign(top_token=("prompt", tokens)), Thresholds(), 0.1)
    assert judged["formatting"].values.tolist() == [True, False] * 3


def test_an_unknown_place_is_refused(pair: Chain) -> None:
    with pytest.raises(InputError, match="give one of auto, last, divergence, sequence"):
        gate(pair, pair.render(Prompts.from_texts(TEXTS)), at="first")
