"""Sites: the weights that belong to a component, by parameter name, whole or in part."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from transformers import LlamaForCausalLM

Parameters = Mapping[str, torch.Tensor]

ENDS = {"embed": "model.embed_tokens.weight", "unembed": "lm_head.weight"}
MATRICES: dict[str, tuple[str, ...]] = {
    "attn": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"),
    "mlp": ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"),
}
OUTPUT = {"attn": "self_attn.o_proj", "mlp": "mlp.down_proj"}


@dataclass(frozen=True)
class Site:
    """A component and its weights: parameter name -> boolean mask, broadcastable, of what belongs to it.

    Norm gains do not belong to a site.
    """

    name: str
    masks: Parameters


def parent_of(name: str) -> str:
    """The name of a layer's attention or MLP as a module."""
    layer, kind = name.split(".")[:2]
    return f"model.layers.{layer}.{'self_attn' if kind == 'attn' else 'mlp'}"


def site_named(model: LlamaForCausalLM, name: str) -> Site:
    """The site ``embed``, ``unembed``, a layer's ``3.mlp`` or ``2.attn``, or the head ``2.attn.1``."""
    whole = torch.ones((), dtype=torch.bool)
    if name in ENDS:
        return Site(name, {ENDS[name]: whole})
    layer, kind, *head = name.split(".")
    names = [f"model.layers.{layer}.{matrix}.weight" for matrix in MATRICES[kind]]
    if not head:
        return Site(name, dict.fromkeys(names, whole))
    own = torch.arange(model.config.hidden_size) // head_width(model) == int(head[0])
    return Site(name, {n: own[None, :] if "o_proj" in n else own[:, None] for n in names})


def head_width(model: LlamaForCausalLM) -> int:
    """The width of one attention head."""
    return model.config.hidden_size // model.config.num_attention_heads


def bias_site(name: str) -> Site:
    """The bias that a layer's attention or MLP adds to its output, in a model with biases."""
    layer, kind = name.split(".")
    return Site(name, {f"model.layers.{layer}.{OUTPUT[kind]}.bias": torch.ones((), dtype=torch.bool)})


def union(sites: Collection[Site]) -> dict[str, torch.Tensor]:
    """The masks of several sites that share no parameter."""
    return {name: mask for site in sites for name, mask in site.masks.items()}


def parameters(model: torch.nn.Module, names: Collection[str]) -> dict[str, torch.Tensor]:
    """Some parameters of a model by name, as they are: gradients reach them."""
    return {name: parameter for name, parameter in model.named_parameters() if name in names}


def spliced(masks: Parameters, inside: torch.nn.Module, outside: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The masked parameters: from ``inside`` where the mask holds, from ``outside`` elsewhere."""
    taken, left = parameters(inside, masks), parameters(outside, masks)
    return {name: torch.where(mask, taken[name], left[name]) for name, mask in masks.items()}
