"""A norm as a linear map at a frozen scale, found by probing the module, whatever its architecture.

RMSNorm (Zhang and Sennrich 2019; Gemma's with gain 1 + w), LayerNorm (Ba et al. 2016; with or without gain and bias)
and their kin are all

    norm(x) = gain * centre(x) * scale(x) + bias,

centre(x) = x or x minus its mean, scale(x) = 1 / sqrt(mean(centre(x)^2) + epsilon): the only part that is not affine.
With the scale frozen at its actual value, what a norm does to a sum is the sum of what it does to the parts, which is
what an attribution needs. Everything is in float32.
"""

import copy
from dataclasses import dataclass, field

import torch
from jaxtyping import Float

from mcinterp.errors import InputError, first_line
from mcinterp.placement.residency import materialised

Vectors = Float[torch.Tensor, "*batch d_model"]
Scales = Float[torch.Tensor, "*batch"]
Gain = Float[torch.Tensor, "d_model"]

TOLERANCE = 1e-5
LARGE = 1e3
PROBES = 16


@dataclass(frozen=True)
class LinearNorm:
    """norm(x) = gain * centre(x) * scale(x) + bias of a module; `centred` says whether centre(x) subtracts the mean."""

    gain: Gain
    bias: Gain
    centred: bool
    module: torch.nn.Module = field(repr=False, compare=False)

    def centre(self, x: Vectors) -> Vectors:
        """x minus its mean where the norm subtracts it; a symmetric projection, so its own adjoint."""
        return x - x.mean(dim=-1, keepdim=True) if self.centred else x

    def scale(self, x: Vectors) -> Scales:
        """The factor that depends on the data, so that the norm of x is gain * centre(x) * scale + bias.

        The least-squares factor between the module's own output and gain * centre(x); zero where that is zero.
        """
        x = x.to(self.gain.device, torch.float32)
        direction = (self.gain * self.centre(x)).double()
        output = (self.module(x) - self.bias).double()
        size = direction.square().sum(dim=-1)
        factor = (direction * output).sum(dim=-1) / size.masked_fill(size == 0, 1.0)
        return factor.float()

    def apply(self, x: Vectors, scale: Scales) -> Vectors:
        """The norm of x at a given scale; affine in x."""
        x = x.to(self.gain.device, torch.float32)
        return self.gain * self.centre(x) * scale.to(x)[..., None] + self.bias

    def pull_back(self, direction: Vectors, scale: Scales) -> Vectors:
        """The adjoint: <direction, apply(x, scale) - bias> = <pull_back(direction, scale), x> for every x."""
        direction = direction.to(self.gain.device, torch.float32)
        return self.centre(self.gain * direction) * scale.to(direction)[..., None]


def linear_norm(module: torch.nn.Module, d_model: int) -> LinearNorm:
    """Take a norm module apart by what it does to probes: zero, one large vector, and that vector shifted.

    The module is copied to float32 and left as it is. Raises `InputError` where gain, bias and a scale that falls as
    the input grows do not give its outputs to 1e-5 of their size: then it is no RMSNorm or LayerNorm over `d_model`.
    """
    norm = copy.deepcopy(materialised(module)).float().requires_grad_(False).eval()
    device = next((each.device for each in (*norm.parameters(), *norm.buffers())), torch.device("cpu"))
    sign = torch.ones(d_model, device=device)
    sign[1::2] = -1.0
    bias = probed(norm, torch.zeros_like(sign))
    shifted = probed(norm, LARGE * (sign + 3.0)) - bias
    balanced = probed(norm, LARGE * sign) - bias
    centred = bool(torch.allclose(balanced, shifted, rtol=1e-4, atol=1e-4 * float(balanced.abs().max())))
    unit = sign - sign.mean() if centred else sign
    found = LinearNorm(balanced * unit.square().mean().sqrt() / unit, bias, centred, norm)
    require_exact(found, d_model)
    return found


@torch.no_grad()
def probed(norm: torch.nn.Module, x: Vectors) -> Vectors:
    """What the module makes of some vectors, or an `InputError` where it takes none of that width."""
    try:
        output = norm(x[None])[0]
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        raise InputError(
            f"{type(norm).__name__} cannot be applied to vectors of width {len(x)} ({first_line(error)}); "
            f"give a norm over the model's width."
        ) from error
    return output


@torch.no_grad()
def require_exact(found: LinearNorm, d_model: int) -> None:
    """Refuse a module that is not what was found of it, on random probes of many sizes, or whose scale is fixed."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(PROBES, d_model, generator=generator).to(found.gain.device)
    x = x * torch.logspace(-2, 3, PROBES, device=x.device)[:, None] + x[:, :1]
    actual, scale = found.module(x), found.scale(x)
    error = (found.apply(x, scale) - actual).abs().amax(dim=-1) / actual.abs().amax(dim=-1).clamp(min=1e-30)
    ratio = found.scale(2.0 * LARGE * x) / found.scale(LARGE * x)
    if not (bool((error <= TOLERANCE).all()) and bool(((ratio - 0.5).abs() <= 1e-3).all())):
        raise InputError(
            f"{type(found.module).__name__} is no norm that scales its input to one size (its outputs are "
            f"{float(error.max()):.2g} of their size away from gain * input * scale + bias); "
            f"give an RMSNorm or LayerNorm over the model's width."
        )
