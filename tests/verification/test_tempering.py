"""The plain temperature that gives a stage a wanted mean entropy."""

import pytest

from mcinterp.chain import Chain
from mcinterp.divergence import entropy, log_probs
from mcinterp.intervene.inputs import as_sequences
from mcinterp.sequences import with_completions
from mcinterp.verification.tempering import matching_temperature
from mcinterp.weights.scalar import Judged, judge


@pytest.fixture
def judged(pair: Chain) -> Judged:
    return judge(pair, as_sequences(pair, ["Are bugs real?", "one", "ab c"]), [0], None)


def mean_entropy(judged: Judged, temperature: float) -> float:
    return float(entropy(log_probs(judged.later.double() / temperature)).mean())


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5, 15.0])
def test_the_temperature_is_found_again(judged: Judged, temperature: float) -> None:
    found = matching_temperature(judged, mean_entropy(judged, temperature))
    assert not found.capped
    assert found.temperature == pytest.approx(temperature, rel=1e-3)
    assert mean_entropy(judged, found.temperature) == pytest.approx(mean_entropy(judged, temperature), abs=1e-5)


def test_what_no_temperature_gives_stops_at_the_cap(judged: Judged) -> None:
    assert matching_temperature(judged, 100.0) == (20.0, True)
    assert matching_temperature(judged, -1.0) == (1 / 20, True)
    assert matching_temperature(judged, mean_entropy(judged, 3.0), cap=2.0) == (2.0, True)


def test_read_positions_of_a_prompt_are_averaged_first(pair: Chain) -> None:
    rendered = as_sequences(pair, ["Are bugs real?", "one"]).prompts
    judged = judge(pair, with_completions(pair, rendered, [(5, 6), ()]), [0, 1, 2], None)
    each = entropy(log_probs(judged.later.double() / 1.7)).tolist()
    assert len(each) == 4
    found = matching_temperature(judged, (sum(each[:3]) / 3 + each[3]) / 2)
    assert found.temperature == pytest.approx(1.7, rel=1e-3)
