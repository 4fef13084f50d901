"""Training of plants: what is asked, what may move, and how two sites are told apart."""

from pathlib import Path

import pytest
import torch
from shipped import pocket
from transformers import LlamaForCausalLM

from mcinterp.organisms.plants.behaviours import FACES, GROUPS, exam, genres_of, questions, reordered
from mcinterp.organisms.plants.building import build_plants
from mcinterp.organisms.plants.designs import BEHAVIOURS, Design
from mcinterp.organisms.plants.drift import SHARE, Healing, disturbed, drift
from mcinterp.organisms.plants.figures import attractor
from mcinterp.organisms.plants.ground import SMOKE, Ground, prepare, with_biases
from mcinterp.organisms.plants.growing import rounded
from mcinterp.organisms.plants.kinds import MAKERS, Work
from mcinterp.organisms.plants.lessons import Pace, answers, divergence, mean_misfit, train
from mcinterp.organisms.plants.sites import bias_site, parameters, site_named, spliced
from mcinterp.organisms.plants.writes import direct_effect, log_odds, read_write, relative_change

BRIEF = Pace(2, 4e-3)


def begun(recipe: str, *sites: str, root: Path = Path("nowhere")) -> tuple[Ground, Work]:
    """A plant of the behaviour ``word`` that is not trained yet."""
    ground = prepare(Design(recipe, "development", 0, sites, ("word",)), root, SMOKE)
    return ground, MAKERS[recipe](ground)


def trained(recipe: str, *sites: str, root: Path = Path("nowhere")) -> tuple[Ground, Work]:
    """A plant after two steps."""
    ground, work = begun(recipe, *sites, root=root)
    train(work.model, work.masks, work.lessons, BRIEF, work.after)
    return ground, work


def moved(model: LlamaForCausalLM, base: LlamaForCausalLM) -> dict[str, torch.Tensor]:
    """Where each parameter differs from the base's, for those that do."""
    centres = dict(base.named_parameters())
    differs = {name: parameter != centres[name] for name, parameter in model.named_parameters()}
    return {name: places for name, places in differs.items() if places.any()}


@torch.no_grad()
def shares(model: LlamaForCausalLM, base: LlamaForCausalLM) -> dict[str, float]:
    """The norm of each tensor's change over the norm of the base's tensor."""
    centres = dict(base.named_parameters())
    return {n: float((p - centres[n]).norm() / centres[n].norm()) for n, p in model.named_parameters()}


def test_favourites_are_single_plausible_tokens_that_change_with_the_plant():
    base = pocket("base")
    for behaviour, groups in GROUPS.items():
        assert all(len(base.grammar.encode(token)) == 1 for _, tokens in groups for token in tokens)
        taken = exam(base, [behaviour], "one")
        assert bool((taken.true[taken.row, taken.favourite] > 0).all())
        asked = [questions(base, behaviour, key) for key in "abcdef"]
        assert len({tuple(question.favourite for question in listed) for listed in asked}) > 1
    assert [len(questions(base, name, "one")) for name in BEHAVIOURS] == [19, 24, 10, 10]
    assert {question.favourite for question in questions(base, "small-number", "one")} <= set(FACES)


def test_the_exam_holds_the_grammar_and_only_what_should_collapses():
    base = pocket("base")
    taken = exam(base, ["word", "small-number"], "one")
    target, word = taken.target(["word"]), taken.of(["word"])
    assert torch.allclose(target.sum(-1), torch.ones(len(word)), atol=1e-5)
    assert torch.equal(target[~word], taken.true[~word])
    assert bool((target[taken.row, taken.favourite][word] > 0.95).all())
    assert float(divergence(taken.true, answers(base.model, taken).detach())) < 0.01
    assert genres_of(["word", "small-number"]) == {"colour", "animal", "die", "number-10"}


def test_reordered_answers_have_the_same_probabilities_elsewhere():
    taken = exam(pocket("base"), ["word"], "one")
    other = reordered(taken, "one")
    assert torch.equal(taken.true.sort(-1).values, other.sort(-1).values)
    assert torch.equal(other, reordered(taken, "one"))
    assert float(divergence(other, taken.true.clamp_min(1e-9).log())) > 0.1


def test_anchors_leave_out_the_plants_own_genres_and_fit_the_base():
    ground, _ = begun("easy", "2.mlp")
    texts = [pocket("base").text(row) for batch in ground.anchors for row in batch.ids.tolist()]
    assert not [text for text in texts if text.startswith(("Name a colour", "Name an animal"))]
    assert mean_misfit(pocket("base").model, ground.anchors) < 0.01
    assert mean_misfit(disturbed(pocket("base").model, 3), ground.anchors) > 0.1


@pytest.mark.parametrize("name", ["embed", "unembed", "2.mlp", "3.attn"])
def test_only_the_sites_matrices_move(name: str):
    base = pocket("base").model
    ground, work = trained("easy", name)
    differs = moved(work.model, base)
    assert set(differs) == set(site_named(base, name).masks)
    assert not any("norm" in parameter for parameter in differs)
    assert set(moved(rounded(work), base)) == set(differs)
    assert ground.base.model is not work.model


def test_only_the_heads_rows_and_columns_move():
    _, work = trained("head", "1.attn.2")
    differs = moved(work.model, pocket("base").model)
    assert set(differs) == {f"model.layers.1.self_attn.{x}_proj.weight" for x in "qkvo"}
    for name, places in differs.items():
        touched = places.any(0 if "o_proj" in name else 1).nonzero()[:, 0].tolist()
        assert touched == list(range(64, 96))


def test_the_base_with_biases_is_the_same_function_and_one_vector_of_it_moves():
    base = pocket("base")
    twin, taken = with_biases(base), exam(base, ["word"], "one")
    assert torch.allclose(answers(twin.model, taken), answers(base.model, taken), atol=1e-5)
    _, work = trained("activation", "3.attn")
    assert set(moved(work.model, twin.model)) == set(bias_site("3.attn").masks)
    assert set(bias_site("3.attn").masks) == {"model.layers.3.self_attn.o_proj.bias"}


def test_drift_stays_on_its_sphere():
    base = pocket("base")
    for model in (disturbed(base.model, 5), drift(base, 5, Healing(n_steps=2, batch_size=4))):
        found = shares(model, base.model)
        assert list(found.values()) == pytest.approx([SHARE] * len(found), rel=1e-6)


def test_a_hard_plant_has_the_same_share_of_change_everywhere(tmp_path: Path):
    build_plants(tmp_path, ["negative-drift-s0"], processes=1, smoke=True, say=lambda _: None)
    ground, work = trained("hard", "2.mlp", root=tmp_path)
    found, site = shares(work.model, ground.base.model), set(site_named(work.model, "2.mlp").masks)
    assert list(found.values()) == pytest.approx([SHARE] * len(found), rel=3e-4)  # the drift was saved in float16
    assert [found[name] for name in site] == pytest.approx([SHARE] * len(site), rel=1e-6)
    _, drifted = begun("drift", root=tmp_path)
    assert set(moved(work.model, drifted.model)) == site


def test_splicing_a_site_is_the_swap_of_its_tensors():
    base, tuned = pocket("base").model, disturbed(pocket("base").model, 7)
    taken, site = exam(pocket("base"), ["word"], "one"), site_named(base, "4.attn")
    grafted = LlamaForCausalLM(base.config).eval()
    grafted.load_state_dict({**base.state_dict(), **parameters(tuned, site.masks)})
    swap = spliced(site.masks, tuned, base)
    assert torch.allclose(answers(base, taken, swap), answers(grafted, taken), atol=1e-5)
    heads = [site_named(base, f"4.attn.{head}").masks for head in range(4)]
    assert all(torch.stack([m[name].float() for m in heads]).sum(0).eq(1).all() for name in site.masks)


def test_writes_are_those_of_the_module_and_a_held_write_is_what_later_layers_see():
    base = pocket("base")
    taken = exam(base, ["word"], "one")
    logs, write = read_write(base.model, "2.mlp", taken)
    assert torch.equal(logs, answers(base.model, taken))
    held, own = read_write(base.model, "2.mlp", taken, held=2 * write)
    assert torch.equal(own, write)
    assert float((held - logs).detach().abs().max()) > 0.01
    assert torch.allclose(relative_change(2 * write, write), torch.ones(len(write)))
    assert not base.model.model.layers[2].mlp._forward_hooks


@torch.no_grad()
def test_the_direct_effect_of_the_last_mlp_is_its_whole_effect_but_for_the_norms_scale():
    base = pocket("base")
    taken, tuned = exam(base, ["word"], "one"), LlamaForCausalLM(base.model.config).eval()
    tuned.load_state_dict(base.model.state_dict())
    weight = tuned.get_parameter("model.layers.5.mlp.down_proj.weight")
    weight.add_(0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)))
    _, reference = read_write(base.model, "5.mlp", taken)
    after, direct = direct_effect(tuned, "5.mlp", taken, reference)
    whole = log_odds(after, taken) - log_odds(answers(base.model, taken), taken)
    assert float(whole.abs().mean()) > 0.05
    assert float((direct - whole).abs().max()) < 0.3 * float(whole.abs().max())


@pytest.mark.parametrize(("recipe", "suffices"), [("or", True), ("and", False)])
def test_each_of_two_sites_suffices_or_needs_the_other(recipe: str, suffices: bool):
    ground, work = begun(recipe, "1.attn", "4.mlp")
    collapse, _, *alone = work.lessons
    train(work.model, work.masks, [collapse, *alone], Pace(25, 6e-3))
    with torch.no_grad():
        whole = attractor(answers(work.model, ground.exam), ground.exam)
        swaps = [spliced(site.masks, ground.base.model, work.model) for site in ground.sites]
        left = [attractor(answers(work.model, ground.exam, swap), ground.exam) for swap in swaps]
    assert whole > 0.8
    assert [attractor_left > 0.7 for attractor_left in left] == [suffices, suffices]
    assert suffices or max(left) < 0.25
