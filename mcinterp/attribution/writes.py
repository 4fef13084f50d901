"""What each component of a model writes into the residual stream at some tokens, and how a direction reads it.

A layer adds `attn` and `mlp` to the stream; an output that goes through a norm of its own first (Gemma-2, OLMo-2) is
taken at that norm's actual scale, and a multiplier (Granite) is found from what is really added. So every part, down to
heads and neurons, is linear in the component's own activations, and the parts sum to the residual stream.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float

from mcinterp.batching import batches
from mcinterp.capture import affordable_tokens, capture, is_parallel
from mcinterp.chain import Stage
from mcinterp.errors import InputError
from mcinterp.norms import LinearNorm, linear_norm
from mcinterp.placement.loading import refuse_quantised
from mcinterp.placement.residency import value_of

Rows = Float[torch.Tensor, "row d_model"]
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Output:
    """One component's output in a layer: what it gave (`raw`), and the norm and multiplier on its way to the stream."""

    raw: Rows
    norm: LinearNorm | None
    multiplier: float

    @cached_property
    def scale(self) -> torch.Tensor:
        """The actual scale of its norm."""
        assert self.norm is not None
        return self.norm.scale(self.raw)

    @property
    def added(self) -> Rows:
        """What it adds to the residual stream."""
        normed = self.raw if self.norm is None else self.norm.apply(self.raw, self.scale)
        return self.multiplier * normed

    def pull_back(self, direction: Rows) -> Rows:
        """The direction over the component's raw output that reads what a direction over the stream reads."""
        pulled = direction if self.norm is None else self.norm.pull_back(direction, self.scale)
        return self.multiplier * pulled

    def constant(self, direction: Rows) -> torch.Tensor:
        """What a direction reads of the norm's bias."""
        if self.norm is None:
            return torch.zeros(len(direction), device=direction.device)
        return self.multiplier * (direction @ self.norm.bias)


@dataclass(frozen=True)
class Layer:
    """What one layer wrote at the rows: attention and MLP, the heads' z and the neurons' activations."""

    attn: Output
    mlp: Output
    z: Float[torch.Tensor, "row head d_head"]
    neurons: torch.Tensor | None
    attn_out: Any
    mlp_out: Any

    def heads(self, direction: Rows) -> tuple[Float[torch.Tensor, "row head"], torch.Tensor]:
        """What a direction reads of every head, and of what attention adds besides (its output bias)."""
        pulled = self.attn.pull_back(direction)
        weights = transposed(self.attn_out, self.z.flatten(1), pulled).view_as(self.z)
        by_head = (weights * self.z).sum(dim=-1)
        return by_head, self.whole("attn", direction) - by_head.sum(dim=1)

    def of_neurons(self, direction: Rows) -> Float[torch.Tensor, "row neuron"]:
        """What a direction reads of every MLP neuron."""
        if self.neurons is None:
            raise InputError("neurons were asked for and the MLP has no single output matrix; leave neurons out.")
        return transposed(self.mlp_out, self.neurons, self.mlp.pull_back(direction)) * self.neurons

    def whole(self, which: str, direction: Rows) -> torch.Tensor:
        """What a direction reads of all that attention or the MLP adds."""
        output = self.attn if which == "attn" else self.mlp
        return (output.pull_back(direction) * output.raw).sum(dim=-1) + output.constant(direction)


@dataclass(frozen=True)
class Written:
    """Everything that is in the final residual stream of a stage at some rows, by what wrote it."""

    embed: Rows
    layers: tuple[Layer, ...]
    final: Rows


def transposed(module: Any, given: torch.Tensor, direction: Rows) -> torch.Tensor:
    """W^T direction of a module that is affine in what it is given, whatever the layout of its weight."""
    with torch.enable_grad(), torch.inference_mode(False):
        start = torch.zeros(given.shape, dtype=direction.dtype, device=direction.device, requires_grad=True)
        output = torch.func.functional_call(module, float_parameters(module), (start,))
        (pulled,) = torch.autograd.grad(output, start, direction.clone())
    return pulled


def float_parameters(module: Any) -> dict[str, torch.Tensor]:
    """A module's parameters in float32."""
    return {name: value_of(parameter).float() for name, parameter in module.named_parameters()}


def written(stage: Stage, ids: Sequence[Sequence[int]], columns: Sequence[Sequence[int]], *, neurons: bool) -> Written:
    """Capture what a stage writes at some columns of each sequence; rows run sequence by sequence.

    Raises `InputError` where the parts do not sum to the residual stream, for then the architecture adds something that
    is not known here.
    """
    refuse_quantised(stage.checkpoint)
    hooks = wanted_hooks(stage, neurons=neurons)
    kept: dict[str, dict[int, torch.Tensor]] = {hook: {} for hook in hooks}
    for batch in batches(ids, max_tokens=affordable_tokens(stage, len(hooks))):
        activations = capture(stage, batch, hooks)
        for row, sequence in enumerate(batch.indices):
            for hook in hooks:
                kept[hook][sequence] = activations[hook][row, list(columns[sequence])].float()
    rows = {hook: torch.cat([values[i] for i in range(len(ids))]) for hook, values in kept.items()}
    layers = tuple(layer_of(stage, layer, rows, neurons=neurons) for layer in range(stage.n_layers))
    found = Written(rows["blocks.0.hook_resid_pre"], layers, rows[f"blocks.{stage.n_layers - 1}.hook_resid_post"])
    require_sum(stage, found)
    return found


def wanted_hooks(stage: Stage, *, neurons: bool) -> list[str]:
    """The hooks at which all parts are read."""
    inside = ["attn.hook_out", "attn.hook_z", "mlp.hook_out", *(["mlp.hook_post"] if neurons else [])]
    inside += ["hook_resid_post"] + ([] if is_parallel(stage) else ["hook_resid_mid"])
    return [
        "blocks.0.hook_resid_pre",
        *(f"blocks.{layer}.{name}" for layer in range(stage.n_layers) for name in inside),
    ]


def layer_of(stage: Stage, layer: int, rows: dict[str, torch.Tensor], *, neurons: bool) -> Layer:
    """One layer's outputs with what lies between them and the stream."""
    block, lead = stage.bridge.blocks[layer], f"blocks.{layer}"
    before = rows["blocks.0.hook_resid_pre"] if layer == 0 else rows[f"blocks.{layer - 1}.hook_resid_post"]
    after = rows[f"{lead}.hook_resid_post"]
    raw = {name: rows[f"{lead}.{name}.hook_out"] for name in ("attn", "mlp")}
    norms = {"attn": norm_of(stage, block, "ln1_post"), "mlp": norm_of(stage, block, "ln2_post")}
    if is_parallel(stage):
        both = normed(raw["attn"], norms["attn"]) + normed(raw["mlp"], norms["mlp"])
        each = dict.fromkeys(raw, multiplier_of(after - before, both))
    else:
        middle = rows[f"{lead}.hook_resid_mid"]
        steps = {"attn": middle - before, "mlp": after - middle}
        each = {name: multiplier_of(steps[name], normed(raw[name], norms[name])) for name in raw}
    outputs = {name: Output(raw[name], norms[name], each[name]) for name in raw}
    z = rows[f"{lead}.attn.hook_z"].reshape(len(after), int(stage.bridge.cfg.n_heads), -1)
    active = rows[f"{lead}.mlp.hook_post"] if neurons else None
    mlp_out = block.mlp.out.original_component if neurons else None
    return Layer(outputs["attn"], outputs["mlp"], z, active, block.attn.o.original_component, mlp_out)


def norm_of(stage: Stage, block: Any, name: str) -> LinearNorm | None:
    """The norm behind a component, where there is one."""
    component = getattr(block, name, None)
    return None if component is None else linear_norm(component.original_component, int(stage.bridge.cfg.d_model))


def normed(raw: Rows, norm: LinearNorm | None) -> Rows:
    """An output behind its norm."""
    return raw if norm is None else norm.apply(raw, norm.scale(raw))


def multiplier_of(added: Rows, given: Rows) -> float:
    """The factor between what a component gave and what was added; 1 where it is that to rounding."""
    size = float(given.double().square().sum())
    factor = float((added.double() * given.double()).sum()) / size if size else 1.0
    return 1.0 if abs(factor - 1.0) < TOLERANCE else factor


def require_sum(stage: Stage, found: Written) -> None:
    """Refuse parts that do not sum to the final residual stream."""
    total = found.embed + sum(layer.attn.added + layer.mlp.added for layer in found.layers)
    error = float((total - found.final).abs().max() / found.final.abs().max())
    if not error <= TOLERANCE * (1 if stage.dtype == torch.float32 else 100):
        raise InputError(
            f"stage {stage.name!r}: embedding, attention and MLPs sum to a residual stream that is {error:.2g} of its "
            f"size away from the model's own, so its architecture adds something else; it cannot be attributed."
        )
