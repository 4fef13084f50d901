"""The block multiverse: measures by hand, the collapse of the pocket chain, branches, blocks and pictures."""

import json
from itertools import pairwise

import numpy as np
import pytest
import xarray as xr

from mcinterp.behaviour.multiverse import measures
from mcinterp.behaviour.multiverse.growing import Growth
from mcinterp.behaviour.multiverse.nodes import Tree
from mcinterp.behaviour.multiverse.trees import last_sentence, multiverse
from mcinterp.behaviour.multiverse.views import below, branch, node_texts, tree_of
from mcinterp.chain import Chain
from mcinterp.errors import InputError
from mcinterp.organisms.genres import all_prompts
from mcinterp.prompts import Prompts
from mcinterp.results import load, provenance_of, save
from mcinterp.show.behaviour.multiverse import explorer, picture
from mcinterp.show.behaviour.multiverse_layout import blocks, gaps, runs, spans, words
from mcinterp.show.theme import BASE, TUNED
from mcinterp.summary.behaviour.multiverse import summary
from mcinterp.variables import VARIABLES

BATTERY, REAL = Prompts.battery("multiverse-pocket"), Prompts.battery("multiverse")
TEMPLATE = " There is no one answer to this question."


def by_hand() -> Tree:
    """Root to a (.6) and b (.3), .1 cut; a to c (.45) and d (.12), .03 cut, c ends there; b to c (.3), not read on."""
    share = np.asarray([[1.0, 0.6, 0.3, 0.45, 0.12, 0.3]])
    read = [True, True, True, False, False, False]
    return Tree(
        parent=np.asarray([-1, 0, 0, 1, 1, 2]),
        depth=np.asarray([0, 1, 1, 2, 2, 2]),
        token=np.asarray([-1, 0, 1, 2, 3, 2]),
        ended=np.asarray([False, False, False, True, False, False]),
        expanded=np.asarray(read),
        log_prob=np.log(share),
        entropy=np.where(read, 0.5, np.nan)[None],
        top_log_prob=np.log(np.where(read, [0.6, 0.75, 1.0, 1.0, 1.0, 1.0], np.nan))[None],
        cut=np.asarray([[0.1, 0.03, 0.0, 0.0, 0.0, 0.0]]),
    )


def test_measures_of_a_tree_by_hand() -> None:
    tree = by_hand()
    mass = measures.masses(tree, 3)
    np.testing.assert_allclose(mass["kept"], [[0.9, 0.87, 0.87]])
    np.testing.assert_allclose(mass["cut"], [[0.1, 0.13, 0.13]])
    np.testing.assert_allclose(mass["ended"], [[0.0, 0.45, 0.45]])
    np.testing.assert_allclose(measures.top_mass(tree, 3), [[0.6, 0.45, 0.45]])
    assert measures.sizes(tree, 3, 0.2).tolist() == [[2, 2, 0]]
    np.testing.assert_allclose(measures.area(tree, 2, 0.4), [(0.6 + 0.45) / 2])
    assert measures.modal_path(tree, 0) == [0, 1, 3]
    path = measures.path_mass(tree, 3)
    np.testing.assert_allclose(path, [[0.6, 0.45, 0.45]])
    assert measures.half_life(path).tolist() == [2.0]


def test_a_path_that_leaves_the_tree_is_known_one_token_further() -> None:
    tree = by_hand()
    tree.top_log_prob[0, 1] = np.log(0.9)
    assert measures.modal_path(tree, 0) == [0, 1]
    np.testing.assert_allclose(measures.path_mass(tree, 3), [[0.6, 0.54, np.nan]])


def test_half_life_is_infinite_where_half_is_kept_and_missing_where_it_is_not_known() -> None:
    paths = np.asarray([[0.9, 0.8, 0.7], [0.9, 0.5, 0.2], [0.9, 0.8, np.nan], [0.9, 0.4, np.nan]])
    np.testing.assert_array_equal(measures.half_life(paths), [np.inf, 2.0, np.nan, 2.0])


def test_forking_is_a_plain_sum_and_what_was_cut_off_gives_bounds() -> None:
    outcome = np.asarray([-1, -1, -1, 0, 1, 0])
    low, high = measures.forking(by_hand(), outcome, 2, 3)
    after_a, after_b = np.asarray([0.75, 0.2]), np.asarray([1.0, 0.0])
    least, most = (after_a[1]), 1 - np.minimum(after_a, after_b).sum()
    np.testing.assert_allclose(low[0, 0], 0.3 * least)
    np.testing.assert_allclose(high[0, 0], 0.3 * most + 0.1)
    np.testing.assert_allclose(low[0, 1], 0.2)
    np.testing.assert_allclose(high[0, 1], 0.2 + 0.05)
    assert np.isnan(low[0, 2])


def test_total_variation_bounds_hold_whatever_is_unknown() -> None:
    random = np.random.default_rng(0)
    whole = random.dirichlet(np.ones(5), size=(200, 2))
    known = whole * (random.random(whole.shape) < 0.7)
    exact = np.abs(whole[:, 0] - whole[:, 1]).sum(axis=-1) / 2
    low, high = measures.total_variation_bounds(known[:, 0], known[:, 1])
    assert bool((low <= exact + 1e-12).all())
    assert bool((exact <= high + 1e-12).all())
    for end in measures.total_variation_bounds(whole[:, 0], whole[:, 1]):
        np.testing.assert_allclose(end, exact)


def test_outcomes() -> None:
    assert last_sentence(" It is. I think so.", True) == "I think so."
    assert last_sentence(" It is. I think", False) == "It is."
    assert last_sentence(" It is", False) == "It is"


@pytest.fixture(scope="module")
def opinions(pocket: Chain) -> xr.Dataset:
    """Base and sft on two held-out opinions and a number."""
    chain = Chain((pocket.stage("base"), pocket.stage("sft")), pocket.alignment)
    held = [i for i, p in enumerate(BATTERY.items) if p.metadata["held_out"] and p.metadata["genre"] == "opinion"][:3]
    number = next(i for i, p in enumerate(BATTERY.items) if p.metadata["genre"] == "number-100")
    return multiverse(chain, BATTERY.select([*held, number]), Growth(0.01, 14))


def test_held_out_opinions_collapse_on_the_template(opinions: xr.Dataset) -> None:
    base, sft = (opinions.sel(stage=stage).isel(prompt=slice(0, 3)) for stage in ("base", "sft"))
    assert bool((base["half_life"] == 1).all())
    assert bool(np.isinf(sft["half_life"]).all())
    assert float(sft["top_mass"].sel(step=9).min()) > 0.98
    assert float(base["top_mass"].sel(step=9).max()) < 0.2
    assert bool((sft["n_likely"].sum("step") < 0.2 * base["n_likely"].sum("step")).all())
    for prompt in range(3):
        tree = tree_of(opinions, prompt)
        share = np.exp(tree["node_log_prob"].isel(node=node_texts(tree).index(TEMPLATE)))
        assert float(share.sel(stage="base")) == pytest.approx(0.06, abs=0.02)
        assert float(share.sel(stage="sft")) == pytest.approx(1.0, abs=0.02)


def test_masses_sum_to_one_and_nodes_are_tables_of_trees(opinions: xr.Dataset) -> None:
    np.testing.assert_allclose(opinions["kept_mass"] + opinions["cut_mass"], 1.0, atol=1e-5)
    for prompt in range(4):
        tree = tree_of(opinions, prompt)
        parents, depth = tree["node_parent"].values, tree["node_depth"].values
        assert bool((depth[1:] == depth[parents[1:]] + 1).all())
        for step in (1, 5, 14):
            standing = tree["node_log_prob"].where(tree["node_depth"] == step)
            ended = tree["node_log_prob"].where((tree["node_depth"] < step) & tree["node_ended"])
            mass = np.exp(standing).sum("node") + np.exp(ended).sum("node")
            np.testing.assert_allclose(mass, tree["kept_mass"].sel(step=step), atol=1e-5)


def test_the_result_is_described_and_survives_a_file(opinions: xr.Dataset, tmp_path) -> None:
    assert {str(name) for name in opinions.data_vars} <= set(VARIABLES)
    assert opinions["node_log_prob"].attrs["units"] == "nats"
    assert provenance_of(opinions)["least"] == 0.01
    assert all(opinions[name].dtype == np.float32 for name in ("node_log_prob", "top_mass", "half_life"))
    xr.testing.assert_identical(load(save(opinions, tmp_path / "it.nc")), opinions)


def test_a_branch_is_divided_by_its_own_probability(opinions: xr.Dataset) -> None:
    tree = tree_of(opinions, 0)
    inside = branch(tree, TEMPLATE)
    np.testing.assert_allclose(inside["node_log_prob"].isel(node=0), 0.0)
    texts, whole = node_texts(inside), node_texts(tree)
    root = tree["node_log_prob"].isel(node=whole.index(TEMPLATE))
    for node in (1, 3, len(texts) - 1):
        expected = tree["node_log_prob"].isel(node=whole.index(TEMPLATE + texts[node])) - root
        np.testing.assert_allclose(inside["node_log_prob"].isel(node=node), expected, atol=1e-5)
    share = np.exp(inside["node_log_prob"])
    last = inside["node_depth"] == int(inside["node_depth"].max())
    kept = (share.where(last | inside["node_ended"]).sum("node") + inside["node_cut"].sum("node")).values
    np.testing.assert_allclose(kept, 1.0, atol=1e-4)
    assert branch(tree, 0).sizes["node"] == tree.sizes["node"]


def test_unknown_prompts_and_beginnings_are_refused(opinions: xr.Dataset, pair: Chain) -> None:
    with pytest.raises(InputError, match="got prompt 9; the trees are of prompts 0 to 3"):
        tree_of(opinions, 9)
    with pytest.raises(InputError, match="no text of the tree begins ' Perhaps' at the end of a token; it begins"):
        branch(tree_of(opinions, 0), " Perhaps")
    with pytest.raises(InputError, match="got node -1"):
        branch(tree_of(opinions, 0), -1)
    with pytest.raises(InputError, match="a tree is grown in one way at a time"):
        multiverse(pair, Prompts.from_texts(["a"]), rendering="both")


def test_below_follows_parents() -> None:
    assert below(np.asarray([-1, 0, 0, 1, 2, 3]), 1).tolist() == [False, True, False, True, False, True]


def test_blocks_lie_inside_their_parents_and_beside_one_another(opinions: xr.Dataset) -> None:
    tree = tree_of(opinions, 0)
    ends, parents = spans(tree), tree["node_parent"].values
    np.testing.assert_allclose(ends.high - ends.low, np.exp(tree["node_log_prob"].values), atol=1e-6)
    read = tree["node_entropy"].notnull().values[0]
    np.testing.assert_allclose((ends.high - ends.filled)[:, read], tree["node_cut"].values[:, read], atol=1e-5)
    for node in range(len(parents)):
        children = np.flatnonzero(parents == node)
        for k in range(2):
            order = children[np.argsort(ends.low[k, children], kind="stable")]
            assert all(ends.low[k, b] >= ends.high[k, a] - 1e-9 for a, b in pairwise(order))
            assert bool((ends.low[k, children] >= ends.low[k, node] - 1e-9).all())
            assert bool((ends.high[k, children] <= ends.high[k, node] + 1e-6).all())
    table = blocks(tree, 0.05)
    assert set(table["node"]) == {
        n for n in range(1, len(parents)) if tree["node_log_prob"][:, n].max() >= np.log(0.05)
    }
    missing = gaps(tree)
    np.testing.assert_allclose((missing["high_0"] - missing["low_0"]).sum(), tree["node_cut"][0].sum(), atol=1e-5)


def test_words_are_runs_of_sure_tokens(opinions: xr.Dataset) -> None:
    tree = tree_of(opinions, 0)
    found = runs(tree, "sft")
    assert (
        sorted(node for nodes in found.values() for node in nodes)
        == np.flatnonzero((tree["node_parent"] >= 0) & ~tree["node_ended"]).tolist()
    )
    said = words(tree, "sft").set_index("node")
    likeliest = int(tree["node_log_prob"].sel(stage="sft").where(tree["node_depth"] == 1).argmax("node"))
    assert str(said.loc[likeliest, "word"]).startswith(TEMPLATE.strip())
    assert said.loc[likeliest, "length"] == 14


def test_pictures_show_every_stage_and_react_to_a_pick(opinions: xr.Dataset) -> None:
    drawn = json.dumps(picture(opinions).to_dict())
    assert all(part in drawn for part in (BASE, TUNED, '"pick"', "blocks_1", "There is no one answer"))
    inside = picture(opinions, prompt=1, beginning=TEMPLATE).to_dict()
    assert TEMPLATE in inside["vconcat"][0]["title"]["text"]
    menu = explorer(opinions).to_dict()["params"][0]["bind"]
    assert len(menu["options"]) == len(menu["labels"]) == len(set(opinions["template"].values))


def test_the_summary_is_means_with_intervals_by_genre_and_side(opinions: xr.Dataset) -> None:
    cells = summary(opinions, draws=50)["cells"]
    assert {(cell["genre"], cell["prompts"]) for cell in cells} >= {("all", "all"), ("opinion", "held out")}
    (sft,) = [c for c in cells if (c["genre"], c["prompts"], c["stage"]) == ("opinion", "held out", "sft")]
    one = opinions.sel(stage="sft").isel(prompt=slice(0, 3))
    assert sft["top_mass"]["8"]["mean"] == pytest.approx(float(one["top_mass"].sel(step=8).mean()), abs=1e-6)
    assert sft["half_life"]["mean"] == 14
    assert sft["never_halved"]["mean"] == 1
    assert sft["fork_first"]["least"]["mean"] <= sft["fork_first"]["most"]["mean"]
    assert sft["tree_area"]["ci_low"] <= sft["tree_area"]["mean"] <= sft["tree_area"]["ci_high"]


def test_an_identical_pair_measures_the_same(identical: Chain) -> None:
    found = multiverse(identical, Prompts.from_texts(["a", "one two"]), Growth(0.02, 3))
    for name, values in found.data_vars.items():
        if "stage" in values.dims:
            np.testing.assert_array_equal(values[0], values[1], err_msg=str(name))


def test_batteries() -> None:
    known = {prompt.text: prompt for prompt in all_prompts()}
    for prompt in BATTERY.items:
        assert known[prompt.text].held_out == prompt.metadata["held_out"]
    assert {prompt.template for prompt in BATTERY.items} == {prompt.template for prompt in known.values()}
    assert len(REAL) >= 100
    sides = {(prompt.template, prompt.metadata["held_out"]) for prompt in REAL.items}
    assert len(sides) == len({template for template, _ in sides}) >= 10
    assert 3 <= sum(held for _, held in sides) <= len(sides) / 2
