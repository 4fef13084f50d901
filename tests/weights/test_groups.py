"""Groups of weights: a partition under every grouping, heads cut where they are, grafts of all equal to the donor."""

import pytest
import torch

from conftest import SHAPES, Build
from mcinterp.chain import Chain, load_pair
from mcinterp.errors import InputError
from mcinterp.weights.groups import GROUPINGS, chosen_groups, groups_of, piece, tensors_from
from mcinterp.weights.tensors import installed, slots_of

TOKENS = torch.tensor([[2, 3, 4, 5, 6, 7]])


@pytest.fixture(params=SHAPES)
def each(request: pytest.FixtureRequest, tiny: Build) -> Chain:
    """A pair of every architecture."""
    return load_pair(str(tiny(request.param)), str(tiny(request.param, "tuned")))


@pytest.mark.parametrize("by", GROUPINGS)
def test_every_weight_is_in_exactly_one_group(each: Chain, by) -> None:
    slots = slots_of(each.base)
    counts = {name: torch.zeros_like(slot.tensor) for name, slot in slots.items()}
    for group in groups_of(each.base, by):
        for tensor, part in group.members:
            view = counts[tensor] if part is None else piece(slots[tensor], part, counts[tensor])
            view += 1
    assert all((count == 1).all() for count in counts.values())


@pytest.mark.parametrize("by", GROUPINGS)
def test_all_groups_of_the_donor_are_the_donor(each: Chain, by) -> None:
    groups = groups_of(each.base, by)
    with torch.inference_mode():
        clean, wanted = each.base.bridge(TOKENS), each.tuned.bridge(TOKENS)
        with installed(each.base, tensors_from(each.base, each.tuned, groups)):
            assert torch.equal(each.base.bridge(TOKENS), wanted)
        assert torch.equal(each.base.bridge(TOKENS), clean)


def test_a_head_of_zeros_is_silent_alone(each: Chain) -> None:
    stage, slots = each.base, slots_of(each.base)
    group = next(g for g in groups_of(stage, "head") if g.layer == 1 and g.head == 2 and g.site == "attn")
    found = {member.tensor: slots[member.tensor].tensor.clone() for member in group.members}
    for tensor, part in group.members:
        assert part is not None
        if tensor.endswith("attn.o.weight"):
            piece(slots[tensor], part, found[tensor]).zero_()
    name = "blocks.1.attn.o.weight"
    kept: dict[str, torch.Tensor] = {}

    def silence(z: torch.Tensor, hook: object) -> torch.Tensor:
        z = z.clone()
        z[:, :, 2] = 0
        return z

    def keep(out: torch.Tensor, hook: object) -> None:
        kept["out"] = out.clone()

    hooks = [("blocks.1.attn.hook_z", silence), ("blocks.1.attn.hook_out", keep)]
    with torch.inference_mode():
        stage.bridge.run_with_hooks(TOKENS, fwd_hooks=hooks)
        expected = kept["out"]
        with installed(stage, {name: found[name]}):
            stage.bridge.run_with_hooks(TOKENS, fwd_hooks=hooks[1:])
    torch.testing.assert_close(kept["out"], expected, atol=1e-5, rtol=1e-4)


def test_shared_key_heads_are_groups_of_their_own(pair: Chain) -> None:
    sites = [(group.site, group.head) for group in groups_of(pair.base, "head") if group.layer == 0]
    assert sites.count(("mlp", None)) == 1
    assert [head for site, head in sites if site == "attn" and head is not None] == [0, 1, 2, 3]
    assert [head for site, head in sites if site == "kv"] == [0, 1]


def test_a_norm_that_feeds_both_is_its_own_component(tiny: Build) -> None:
    cohere = load_pair(str(tiny("cohere")), str(tiny("cohere", "tuned"))).base
    assert [g.name for g in groups_of(cohere, "component") if g.layer == 1] == ["1.attn", "1.mlp", "1.norm"]


def test_groups_are_chosen_and_joined_by_name(pair: Chain) -> None:
    (mlp,) = chosen_groups(pair, "component", ["2.mlp"])
    assert (mlp.site, mlp.layer, mlp.head) == ("mlp", 2, None)
    (both,) = chosen_groups(pair, "component", {"ends": ["embed", "unembed"]})
    assert [member.tensor for member in both.members] == ["embed.weight", "unembed.weight"]
    with pytest.raises(InputError, match="got '9.mlp' for groups by component; give some of embed, 0.attn"):
        chosen_groups(pair, "component", ["9.mlp"])
    with pytest.raises(InputError, match="got no group for groups by layer"):
        chosen_groups(pair, "layer", [])
    with pytest.raises(InputError, match="grouping 'mood' is unknown; give one of tensor, head"):
        groups_of(pair.base, "mood")
