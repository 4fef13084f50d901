"""TransformerBridges for models in memory: made around a copy that shares the weights' memory, or taken as they are."""

import copy
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.model_bridge.generalized_components.base import GeneralizedComponent
from transformer_lens.model_bridge.sources import build_bridge_from_module
from transformer_lens.model_bridge.sources._hf_format import determine_architecture_from_hf_config
from transformer_lens.utilities.attn_implementation import force_eager_attention
from transformers import PreTrainedModel

from mcinterp.checkpoints.reading import quiet
from mcinterp.errors import InputError, first_line
from mcinterp.interop.in_memory import InMemory

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
SWITCHES = ("use_attn_result", "use_split_qkv_input", "use_attn_in", "use_hook_mlp_in")


def require_model(name: str, model: Any) -> None:
    """Refuse what is neither a model of transformers nor a bridge, or is one in a state that cannot be compared."""
    if isinstance(model, TransformerBridge):
        require_raw(name, model)
    elif isinstance(model, PreTrainedModel):
        require_plain(name, model)
    else:
        raise InputError(
            f"stage {name!r} is a {type(model).__name__}; give a PreTrainedModel of transformers or a "
            f"TransformerBridge (of a compiled model its `_orig_mod`, of a PEFT model what `merge_and_unload` gives)."
        )
    require_one_device(name, inner(model))


def inner(model: Any) -> Any:
    """The model of transformers: itself, or what a bridge holds."""
    return model.original_model if isinstance(model, TransformerBridge) else model


def require_raw(name: str, bridge: TransformerBridge) -> None:
    """Refuse a bridge whose weights, hooks or dropout are not those of the checkpoint as it runs."""
    if bridge._weights_processed:
        raise InputError(
            f"stage {name!r} is a bridge with processed weights (enable_compatibility_mode), whose activations and "
            f"weights are not the model's own; give the bridge as it was booted, or use no_processing=True."
        )
    if bridge.training or bridge.original_model.training:
        raise InputError(f"stage {name!r} is a bridge in training mode, with dropout; call its eval() first.")
    on = [switch for switch in SWITCHES if getattr(bridge.cfg, switch, False)]
    if on:
        raise InputError(
            f"stage {name!r} is a bridge with {on[0]} on, which gives sites other shapes; call set_{on[0]}(False)."
        )


def require_plain(name: str, model: PreTrainedModel) -> None:
    """Refuse a model that a bridge, an adapter or a replaced forward pass is wound around."""
    if any(isinstance(module, GeneralizedComponent) for module in model.modules()):
        raise InputError(f"stage {name!r} is a model that a TransformerBridge was put around; give that bridge.")
    if getattr(model, "_hf_peft_config_loaded", False) or hasattr(model, "peft_config"):
        raise InputError(
            f"stage {name!r} is a model with an adapter in it; merge the adapter first (PEFT's merge_and_unload)."
        )
    replaced = next((where for where, module in model.named_modules() if "forward" in module.__dict__), None)
    if replaced is not None:
        raise InputError(
            f"stage {name!r}: the forward pass of its module {replaced or 'at the top'!r} was replaced (by accelerate, "
            f"or by hand), so the copy that is read would run another; give the model as it was loaded on one device."
        )


def require_one_device(name: str, model: PreTrainedModel) -> None:
    """Refuse a model that is spread over several devices."""
    devices = sorted({str(parameter.device) for parameter in model.parameters()})
    if len(devices) > 1:
        raise InputError(
            f"stage {name!r} has weights on {', '.join(devices)} and one device is wanted; move it to one, or give its "
            f"checkpoint to load_chain with a device map."
        )


def bridge_of(checkpoint: InMemory, model: Any) -> Any:
    """The bridge that reads a model: itself where it is one, else one around a twin of it."""
    if isinstance(model, TransformerBridge):
        return model
    try:
        with torch.inference_mode(False), quiet():
            return bridged(twin_of(model), copy.deepcopy(checkpoint.config), dtype_of(model)).eval()
    except Exception as error:  # a model may be made of anything, and TransformerLens raises whatever it likes
        raise InputError(
            f"stage {checkpoint.name!r}: TransformerLens cannot put a bridge around its {type(model).__name__} "
            f"({first_line(error)}); give a model of an architecture that it knows."
        ) from error


def bridged(twin: PreTrainedModel, config: Any, dtype: torch.dtype) -> TransformerBridge:
    """A bridge around a model, without a tokenizer: TransformerLens would read that anew, from files or a hub."""
    if getattr(config, "pad_token_id", None) is None:
        ends = getattr(config, "eos_token_id", None)
        config.pad_token_id = ends[0] if isinstance(ends, list) and ends else ends

    def choose_attention(adapter: Any) -> None:
        if getattr(adapter.cfg, "attn_implementation", None) is None:
            force_eager_attention(twin)

    architecture = determine_architecture_from_hf_config(config)
    return build_bridge_from_module(
        twin, architecture, hf_config=config, dtype=dtype, post_adapter_hook=choose_attention
    )


def dtype_of(model: PreTrainedModel) -> torch.dtype:
    """The dtype of the first weight that is a plain number."""
    return next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)


def twin_of(model: PreTrainedModel) -> PreTrainedModel:
    """A copy of a model's modules, settings and buffers, whose weights lie in the same memory; in eval mode.

    A bridge wraps modules, switches the attention's implementation and exchanges weights for a while: all of that
    happens to the twin. Weights of special kinds (quantised ones) are copied. Hooks on its modules ride along.
    """
    memo: dict[int, Any] = {id(hook): hook for hook in hooks_of(model)}
    for parameter in model.parameters():
        if type(parameter) is torch.nn.Parameter:
            memo[id(parameter)] = torch.nn.Parameter(parameter.detach(), parameter.is_floating_point())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return copy.deepcopy(model, memo).eval()


def hooks_of(model: PreTrainedModel) -> Iterator[Any]:
    """The hooks that were put on a model's modules."""
    for module in model.modules():
        for kind in HOOKS:
            yield from module.__dict__.get(kind, {}).values()
