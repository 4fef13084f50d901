"""Tiny pairs whose weights a test may change, and neurons planted in them."""

import torch

from conftest import Build
from mcinterp.chain import Chain, load_pair
from mcinterp.folding import block_norm, final_norm, linear_weight, mlp_down

PLAIN = {
    "llama": ("lm_head", "model.norm", "model.layers.{}.mlp.down_proj", None),
    "qwen2": ("lm_head", "model.norm", "model.layers.{}.mlp.down_proj", None),
    "gemma2": ("lm_head", "model.norm", "model.layers.{}.mlp.down_proj", "model.layers.{}.post_feedforward_layernorm"),
    "olmo2": ("lm_head", "model.norm", "model.layers.{}.mlp.down_proj", "model.layers.{}.post_feedforward_layernorm"),
    "gpt2": ("lm_head", "transformer.ln_f", "transformer.h.{}.mlp.c_proj", None),
    "gpt_neox": ("lm_head", "gpt_neox.final_layer_norm", "gpt_neox.layers.{}.mlp.dense_4h_to_h", None),
}


def fresh(tiny: Build, architecture: str) -> Chain:
    """A tiny pair whose weights a test may change."""
    return load_pair(str(tiny(architecture)), str(tiny(architecture, "tuned")), names=["base", "tuned"])


def plant(chain: Chain, layer: int, neuron: int, written: torch.Tensor) -> None:
    """Let a neuron of every stage write a residual vector (as folded), whatever norm stands behind its MLP."""
    for stage in chain.stages:
        weight = linear_weight(mlp_down(stage, layer))
        post = 1.0 if (norm := block_norm(stage, layer, "ln2_post")) is None else norm.gain
        with torch.no_grad():
            weight[neuron] = (written / post).float()


def make_unread(chain: Chain, seed: int) -> torch.Tensor:
    """Take a direction out of what every stage's unembedding reads; the direction, of unit length and mean zero."""
    torch.manual_seed(seed)
    hidden = torch.randn(24, dtype=torch.float64)
    hidden = (hidden - hidden.mean()) / (hidden - hidden.mean()).norm()
    for stage in chain.stages:
        through = final_norm(stage).gain * hidden
        with torch.no_grad():
            weight = stage.bridge.unembed.original_component.weight
            weight -= ((weight.double() @ through).outer(through) / through.square().sum()).float()
    return hidden
