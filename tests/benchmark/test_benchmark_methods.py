"""Every registered method on a checkpoint in which one component was pushed, and the sums that must come out."""

import numpy as np
import pytest
from standins import PROMPTS, stand_in

from mcinterp.benchmark.case import METHODS, METRIC, Answer, Case, chosen_methods, method
from mcinterp.benchmark.methods import located
from mcinterp.benchmark.scoring import found_truth
from mcinterp.chain import load_pair
from mcinterp.errors import InputError
from mcinterp.intervene.inputs import as_sequences
from mcinterp.weights.grafts import graft_sweep
from mcinterp.weights.scalar import SCALARS, judge
from mcinterp.weights.tensors import slots_of

WHOLE = (
    "stitching", "graft base->tuned", "graft tuned->base",
    "Shapley over grafts", "path integral of the update",
)  # fmt: skip
SUMMING = (*WHOLE[:1], *WHOLE[3:], "logit-lens increment (own readout)", "logit-lens increment (base readout)")
PATCHES = tuple(f"patch {way} (all positions)" for way in ("base->tuned", "tuned->base"))
answered: dict[tuple[int, str], Answer] = {}
OF_LAYERS = ("logit-lens increment (own readout)", "logit-lens increment (base readout)", "lens onset at 30 %")


def case_of(specs: tuple[str, str], by: str = "component") -> Case:
    chain = load_pair(*specs)
    return Case(chain, as_sequences(chain, PROMPTS[:2]), by)


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """The MLP of layer 3 pushed."""
    root = tmp_path_factory.mktemp("plants")
    return case_of(stand_in(root, "mlp", "3.mlp").specs(root))


@pytest.fixture(scope="module")
def pushed_head(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """Head 2 of layer 4 pushed."""
    root = tmp_path_factory.mktemp("plants")
    return case_of(stand_in(root, "head", "4.attn.2").specs(root), "head")


@pytest.fixture(scope="module")
def tuned() -> Case:
    """A stage in which everything changed."""
    return case_of(("pocket:base", "pocket:sft"))


def answer(case: Case, name: str) -> Answer:
    """What a method answers on a case, worked out once."""
    if (id(case), name) not in answered:
        answered[id(case), name] = METHODS[name].answer(case)
    return answered[id(case), name]


def scores(case: Case, name: str) -> dict[str, float]:
    return answer(case, name).scores


def total(case: Case) -> float:
    judged = judge(case.chain, case.sequences, (0,), None)
    base, later = (judged.values(stage, {METRIC: SCALARS[METRIC]})[METRIC].mean() for stage in case.chain.stages)
    return later - base


@pytest.mark.parametrize("name", METHODS)
def test_every_method_finds_the_pushed_component(pushed: Case, name: str) -> None:
    found = scores(pushed, name)
    assert list(found) == pushed.components
    assert found_truth(found, ("3.mlp",))["top_1"] == 1.0


@pytest.mark.parametrize("name", METHODS)
def test_every_method_that_tells_heads_apart_finds_the_pushed_head(pushed_head: Case, name: str) -> None:
    found = scores(pushed_head, name)
    assert list(found) == pushed_head.components
    if name in (*OF_LAYERS, WHOLE[0]):
        heads = [found[f"4.attn.{head}"] for head in range(4)]
        assert heads == [max(found.values())] * 4
    elif name.startswith(("patch", "attribution patching")):
        assert found["4.attn.2"] == pytest.approx(0.0, abs=1e-5)  # z lies before the matrix that was pushed
    else:
        assert found_truth(found, ("4.attn.2",))["top_1"] == 1.0


@pytest.mark.parametrize("name", [*WHOLE, *PATCHES])
def test_where_one_component_changed_it_has_the_whole_effect(pushed: Case, name: str) -> None:
    found = scores(pushed, name)
    assert found["3.mlp"] == pytest.approx(total(pushed), rel=0.01)
    before = {"embed", "0.attn", "2.mlp", "3.attn"} if name in PATCHES else set(found) - {"3.mlp"}
    assert [found[name] for name in before] == pytest.approx([0.0] * len(before), abs=1e-4)


@pytest.mark.parametrize("name", SUMMING)
def test_parts_sum_to_the_whole_change(tuned: Case, name: str) -> None:
    assert sum(scores(tuned, name).values()) == pytest.approx(total(tuned), rel=0.02)


def test_stitching_is_swapping_weights_from_below(tuned: Case) -> None:
    grafts = graft_sweep(tuned.chain, tuned.sequences, order="up", metrics=[METRIC])[METRIC].mean("prompt")
    up, down = (grafts.sel(direction=way).values for way in ("tuned_to_base", "base_to_tuned"))
    steps = (np.diff([down[-1], *up]) - np.diff([up[-1], *down])) / 2
    steps[-2:] = [0.0, steps[-2:].sum()]
    assert list(scores(tuned, WHOLE[0]).values()) == pytest.approx(steps.tolist(), abs=1e-3)


def test_changes_of_weights_have_their_known_sizes(tuned: Case) -> None:
    own, theirs = ({n: s.tensor.numpy() for n, s in slots_of(stage).items()} for stage in tuned.chain.stages)
    names = [name for name in own if name.startswith("blocks.2.mlp") or name.startswith("blocks.2.ln2")]
    moved = sum(np.square(theirs[name] - own[name]).sum() for name in names)
    length = sum(np.square(own[name]).sum() for name in names)
    assert scores(tuned, "delta norm")["2.mlp"] == pytest.approx((moved / length) ** 0.5, rel=1e-4)
    stretch = [
        np.linalg.norm(theirs[name] - own[name], 2) / np.linalg.norm(own[name], 2)
        for name in names if own[name].ndim == 2
    ]  # fmt: skip
    assert len(stretch) == 3
    assert scores(tuned, "delta top singular value")["2.mlp"] == pytest.approx(max(stretch), rel=1e-4)


def test_onset_falls_with_distance_and_the_earlier_comes_first(pushed: Case) -> None:
    found = scores(pushed, "lens onset at 30 %")
    near = [found[name] for name in ("3.mlp", "3.attn", "4.attn", "2.mlp", "unembed")]
    assert near == pytest.approx([1, 1 - 1 / 15, 1 - 1.5 / 15, 1 - 2 / 15, 1 - 6.5 / 15])


def test_nothing_is_found_where_nothing_changed(pushed: Case) -> None:
    same = Case(load_pair("pocket:base", "pocket:base"), pushed.sequences)
    for name in ("lens onset at 30 %", "logit-lens increment (own readout)", "graft base->tuned", "delta norm"):
        assert set(METHODS[name].answer(same).scores.values()) == {0.0}
    nothing = located(same)
    assert (nothing.verdict, set(nothing.scores.values())) == ("none", {0.0})


def test_locate_answers_with_a_verdict(pushed: Case) -> None:
    given = answer(pushed, "locate")
    assert (given.verdict, given.upstream) == ("localised", False)


def test_a_name_is_registered_once_and_unknown_ones_are_refused() -> None:
    for name, why in {"delta norm": "is registered already", "a, b": "holds a comma"}.items():
        with pytest.raises(InputError, match=f"the method name {name!r} {why}; give another name"):
            method(name)(lambda case: Answer({}))
    with pytest.raises(InputError, match="got 'delta' for a method; give some of delta norm, delta top"):
        chosen_methods(["delta norm", "delta"])
    assert [each.name for each in chosen_methods(["locate", "delta norm"])] == ["delta norm", "locate"]
    assert [each.name for each in chosen_methods()] == list(METHODS)


def test_heads_that_a_method_cannot_tell_apart_have_the_score_of_their_attention(pushed_head: Case) -> None:
    found = pushed_head.scores_of_components({"1.attn": 2.0, "1.mlp": 3.0})
    assert {name for name, score in found.items() if score == 2.0} == {f"1.attn.{head}" for head in range(4)}
    assert {name: score for name, score in found.items() if score not in (0.0, 2.0)} == {"1.mlp": 3.0}
