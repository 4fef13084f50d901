"""Which edits are compared."""

import pytest

from mcinterp.chain import Chain
from mcinterp.errors import InputError
from mcinterp.verification.edits import (
    Edit,
    changed_components,
    chosen_edit,
    growing,
    random_edits,
    site_names,
)
from mcinterp.weights.groups import groups_of

POOL = [f"{layer}.mlp" for layer in range(7)]


def test_sites_grow_one_by_one() -> None:
    assert [edit.sites for edit in growing(["a", "b", "c"], 2)] == [("a",), ("a", "b")]
    assert [edit.name for edit in growing(["a", "b"], 5)] == ["1 site", "2 sites"]


def test_the_first_that_suffices_is_chosen_else_the_best() -> None:
    one, two, three = growing(["a", "b", "c"], 3)
    assert chosen_edit({one: 0.5, two: 0.8, three: 0.9}, 0.8) == two
    assert chosen_edit({one: 0.5, two: 0.7, three: 0.6}, 0.8) == two


@pytest.mark.parametrize(("size", "count"), [(1, 5), (2, 8), (3, 30), (3, 35)])
def test_random_sets_differ_and_come_from_the_pool(size: int, count: int) -> None:
    drawn = random_edits(POOL, size, count, seed=1)
    assert [edit.name for edit in drawn] == [f"random {n}" for n in range(1, count + 1)]
    assert len({frozenset(edit.sites) for edit in drawn}) == count
    assert all(len(set(edit.sites)) == size and set(edit.sites) <= set(POOL) for edit in drawn)
    assert drawn == random_edits(POOL, size, count, seed=1)
    assert drawn != random_edits(POOL, size, count, seed=2)


def test_a_small_pool_gives_fewer_and_smaller_sets() -> None:
    assert random_edits(["a", "b"], 3, 8, seed=0) == [Edit("random 1", "random", ("a", "b"))]
    assert len(random_edits(["a", "b", "c"], 2, 8, seed=0)) == 3
    assert random_edits([], 2, 8, seed=0) == []
    assert random_edits(["a"], 1, 0, seed=0) == []


def test_only_changed_components_are_drawn(pair: Chain, identical: Chain) -> None:
    assert changed_components(pair) == [group.name for group in groups_of(pair.base, "component")]
    assert changed_components(identical) == []


def test_names_are_a_list() -> None:
    assert site_names(["b", "a", "b"]) == ("b", "a")
    with pytest.raises(InputError, match=r"got \(\) for sites"):
        site_names(())
