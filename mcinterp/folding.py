"""Weights as plain maps on the residual stream: what norms do besides dividing, and projections in one layout.

`TransformerLens` folds norms only in compatibility mode, not for every architecture, and moves each checkpoint into
coordinates of its own; here gains are folded by hand, in float64, and the checkpoint stays as it is.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from transformers.pytorch_utils import Conv1D

from mcinterp.chain import Stage
from mcinterp.errors import InputError
from mcinterp.norms import linear_norm
from mcinterp.placement.loading import refuse_quantised
from mcinterp.placement.residency import value_of
from mcinterp.readout import text_config

ROWS = 16_384

Rows = Float[torch.Tensor, "*row d_model"]


class Norm(NamedTuple):
    """A norm as `gain * (x - mean(x) if centred) / scale(x) + bias`, its parameters in float64.

    `module` is the norm itself, in float32: it knows how `scale` is computed.
    """

    module: torch.nn.Module
    gain: Float[torch.Tensor, "d_model"]
    bias: Float[torch.Tensor, "d_model"]
    centred: bool

    def linear(self, x: Rows) -> Rows:
        """gain * (x - mean(x) if centred): the norm without division and bias."""
        wide = x.to(self.gain)
        return self.gain * (wide - wide.mean(dim=-1, keepdim=True) if self.centred else wide)

    def scale(self, x: Rows) -> Float[torch.Tensor, "*row one"]:
        """What x is divided by (with epsilon), found from the norm's own output."""
        flat = self.linear(x)
        normed = self.module(x.float()).to(flat) - self.bias
        return flat.square().sum(dim=-1, keepdim=True) / (normed * flat).sum(dim=-1, keepdim=True)

    def frozen(self, x: Rows, scale: Float[torch.Tensor, "*#row one"]) -> Rows:
        """The norm of x with the scale of another run; float32."""
        return (self.linear(x) / scale + self.bias).float()


def norm_of(module: torch.nn.Module, d_model: int) -> Norm:
    """The parts of a norm, as `mcinterp.norms.linear_norm` finds them; `InputError` for a module that is none."""
    found = linear_norm(module, d_model)
    return Norm(found.module, found.gain.double(), found.bias.double(), found.centred)


def final_norm(stage: Stage) -> Norm:
    """The parts of the norm before the unembedding."""
    return norm_of(stage.readout.norm, int(stage.bridge.cfg.d_model))


def block_norm(stage: Stage, layer: int, name: str) -> Norm | None:
    """The parts of a block's norm by its bridge name (`ln1`, `ln1_post`, `ln2_post`), or None where it has none."""
    found = stage.bridge.blocks[layer]._modules.get(name)
    return None if found is None else norm_of(found.original_component, int(stage.bridge.cfg.d_model))


def folded_unembedding(stage: Stage, norm: Norm) -> Iterator[Float[torch.Tensor, "token d_model"]]:
    """W_U by blocks of tokens with the final norm's gain (and centring) folded in; float64.

    Row v times a residual is v's logit times the norm's scale, up to a constant factor of the model and its softcap.
    """
    weight = stage.readout.weight[: stage.readout.vocabulary]
    for block in weight.split(ROWS):
        folded = block.double() * norm.gain.to(block.device)
        yield folded - folded.mean(dim=-1, keepdim=True) if norm.centred else folded


def linear_weight(module: Any) -> Float[torch.Tensor, "d_in d_out"]:
    """The matrix of a projection, inputs first, whether it is a Linear or a Conv1D (GPT-2); refuses anything else."""
    if isinstance(module, torch.nn.Linear):
        return value_of(module.weight).T
    if isinstance(module, Conv1D):
        return value_of(module.weight)
    raise InputError(f"a projection is a {type(module).__name__}; a Linear or Conv1D is wanted to read its weights.")


def mlp_down(stage: Stage, layer: int) -> torch.nn.Module:
    """The module that neurons of a layer write through (the down projection).

    Raises `InputError` where a layer has none (mixtures of experts).
    """
    refuse_quantised(stage.checkpoint)
    out = getattr(stage.bridge.blocks[layer].mlp, "out", None)
    if out is None or f"blocks.{layer}.mlp.hook_post" not in stage.bridge.hook_dict:
        raise InputError(
            f"stage {stage.name!r}, layer {layer}: its MLP has no single output projection (a mixture of experts?), so "
            f"it has no neurons in this sense; use a model with plain MLPs."
        )
    return out.original_component


def residual_multiplier(stage: Stage) -> float:
    """What a block's outputs are multiplied with before they are added (Granite); 1 elsewhere."""
    return float(getattr(text_config(stage.bridge.original_model.config), "residual_multiplier", None) or 1.0)


def neuron_outputs(stage: Stage, layer: int) -> Float[torch.Tensor, "neuron d_model"]:
    """What a unit of each neuron's activation adds to the residual stream, float64.

    The neuron's column of the down projection, times the gain (and centring) of a norm behind the MLP (Gemma-2,
    OLMo-2), whose data-dependent scale weights cannot tell, and Granite's residual multiplier.
    """
    written = linear_weight(mlp_down(stage, layer)).double() * residual_multiplier(stage)
    post = block_norm(stage, layer, "ln2_post")
    return written if post is None else post.linear(written)
