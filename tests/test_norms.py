"""Norms taken apart against the modules themselves and against their closed forms."""

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.cohere.modeling_cohere import CohereLayerNorm
from transformers.models.gemma2.modeling_gemma2 import Gemma2RMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.olmo.modeling_olmo import OlmoLayerNorm
from transformers.models.olmo2.modeling_olmo2 import Olmo2RMSNorm

from conftest import SHAPES
from mcinterp.errors import InputError
from mcinterp.norms import linear_norm

WIDTH = 7
NORMS = {
    "RMSNorm": nn.RMSNorm(WIDTH, eps=1e-3),
    "Llama": LlamaRMSNorm(WIDTH),
    "Gemma-2": Gemma2RMSNorm(WIDTH),
    "OLMo-2": Olmo2RMSNorm(WIDTH),
    "LayerNorm": nn.LayerNorm(WIDTH, eps=1e-3),
    "LayerNorm without bias": nn.LayerNorm(WIDTH, bias=False),
    "OLMo": OlmoLayerNorm(WIDTH),
    "Cohere": CohereLayerNorm(WIDTH, eps=1e-5),
}
CENTRED = {"LayerNorm", "LayerNorm without bias", "OLMo", "Cohere"}
EPSILON = {"RMSNorm": 1e-3, "LayerNorm": 1e-3, "Cohere": 1e-5, "OLMo": 1e-5, "LayerNorm without bias": 1e-5}


def noisy(module: nn.Module) -> nn.Module:
    """The module with random weights, of both signs and one zero."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in module.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator))
            weight[2] = 0.0
    return module


def vectors(*shape: int) -> torch.Tensor:
    return 3.0 * torch.randn(*shape, generator=torch.Generator().manual_seed(1)) + 1.5


@pytest.mark.parametrize("name", NORMS)
def test_the_parts_give_the_modules_output(name: str) -> None:
    module = noisy(NORMS[name])
    norm, x = linear_norm(module, WIDTH), vectors(3, 5, WIDTH) * torch.logspace(-3, 3, 5)[:, None]
    assert norm.centred == (name in CENTRED)
    with torch.no_grad():
        torch.testing.assert_close(norm.apply(x, norm.scale(x)), module(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", NORMS)
def test_gain_bias_and_scale_are_the_closed_forms(name: str) -> None:
    module = noisy(NORMS[name])
    norm, x = linear_norm(module, WIDTH), vectors(3, WIDTH)
    weight = getattr(module, "weight", None)
    weight = torch.ones(WIDTH) if weight is None else weight.detach() + (1.0 if name == "Gemma-2" else 0.0)
    torch.testing.assert_close(norm.gain, weight, atol=1e-5, rtol=1e-5)
    bias = getattr(module, "bias", None)
    torch.testing.assert_close(norm.bias, torch.zeros(WIDTH) if bias is None else bias.detach(), atol=1e-6, rtol=1e-6)
    centred = x - x.mean(-1, keepdim=True) if name in CENTRED else x
    expected = (centred.square().mean(-1) + EPSILON.get(name, 1e-6)).rsqrt()
    torch.testing.assert_close(norm.scale(x), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", NORMS)
def test_at_a_frozen_scale_parts_of_a_sum_add_up_and_pull_back_is_the_adjoint(name: str) -> None:
    norm, parts = linear_norm(noisy(NORMS[name]), WIDTH), vectors(5, 3, WIDTH)
    scale, direction = norm.scale(parts.sum(0)), vectors(3, 2 * WIDTH)[:, ::2]
    each = torch.stack([norm.apply(part, scale) - norm.bias for part in parts])
    whole = norm.apply(parts.sum(0), scale)
    torch.testing.assert_close(each.sum(0) + norm.bias, whole, atol=1e-4, rtol=1e-5)
    pulled = (norm.pull_back(direction, scale) * parts).sum(-1)
    torch.testing.assert_close(pulled, (direction * each).sum(-1), atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("architecture", SHAPES)
def test_every_norm_over_the_width_of_a_model_is_taken_apart(architecture: str) -> None:
    config = AutoConfig.for_model(architecture, **SHAPES[architecture])
    model, width = AutoModelForCausalLM.from_config(config), config.hidden_size
    names = {"norm", "ln_f", "ln_1", "ln_2", "final_layer_norm"}
    found = [(name, m) for name, m in model.named_modules() if name.rsplit(".", 1)[-1].endswith((*names, "layernorm"))]
    over_width = [m for name, m in found if not name.endswith(("q_norm", "k_norm"))]
    assert len(over_width) >= 4
    for module in over_width:
        norm, x = linear_norm(noisy(module), width), vectors(3, width)
        with torch.no_grad():
            torch.testing.assert_close(norm.apply(x, norm.scale(x)), module(x), atol=1e-5, rtol=1e-5)


def test_a_half_precision_module_is_taken_apart_in_float32_and_left_as_it_is() -> None:
    module = noisy(LlamaRMSNorm(WIDTH)).bfloat16()
    norm = linear_norm(module, WIDTH)
    assert module.weight.dtype == torch.bfloat16
    assert module.weight.requires_grad
    torch.testing.assert_close(norm.gain, module.weight.detach().float(), atol=1e-5, rtol=1e-5)
    assert norm.scale(vectors(3, WIDTH).bfloat16()).dtype == torch.float32


def test_the_scale_of_nothing_is_zero_and_the_norm_its_bias() -> None:
    module = noisy(nn.LayerNorm(WIDTH))
    norm, x = linear_norm(module, WIDTH), torch.full((2, WIDTH), 0.5)
    assert norm.scale(x).tolist() == [0.0, 0.0]
    torch.testing.assert_close(norm.apply(x, norm.scale(x)), module(x).detach())


class Doubled(nn.Module):
    """Applies no norm."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2.0 * x


@pytest.mark.parametrize(
    "module", [nn.Linear(WIDTH, WIDTH), nn.Identity(), Doubled(), nn.Softmax(-1), nn.GELU(), nn.Tanh()]
)
def test_what_is_no_norm_is_refused(module: nn.Module) -> None:
    with pytest.raises(InputError, match=f"{type(module).__name__} is no norm that scales its input to one size"):
        linear_norm(module, WIDTH)


def test_a_norm_of_another_width_is_refused() -> None:
    with pytest.raises(InputError, match="RMSNorm cannot be applied to vectors of width 7"):
        linear_norm(nn.RMSNorm(5), WIDTH)
