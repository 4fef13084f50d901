"""That a model is what its files say: nothing missing, nothing of another shape, finite, and able to run."""

from collections.abc import Iterable, Mapping
from math import prod
from typing import Any

import torch

from mcinterp.checkpoints.files import Stored
from mcinterp.checkpoints.reading import named, reading
from mcinterp.errors import InputError, quoted

SLACK = 2**20


def refuse_other_sizes(checkpoint: Any, stored: Stored, factory: Any) -> None:
    """Refuse, before it is built, a model that the configuration makes far larger than the files.

    Also refuses weights stored as integers without a quantisation. The exact proof is `refuse_missing`; this one keeps
    a wrong configuration from filling the memory first.
    """
    config = checkpoint.config
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    if text.num_hidden_layers > len(stored):
        raise InputError(
            f"{named(checkpoint)}: its config.json says {text.num_hidden_layers} layers and its files hold "
            f"{len(stored)} tensors; give the config.json that belongs to the weights."
        )
    if checkpoint.quantised:
        return
    model = empty_model(checkpoint, factory)
    refuse_whole_numbers(checkpoint, stored, model)
    wanted = sum(parameter.numel() for parameter in model.parameters())
    held = sum(prod(tensor.shape) for tensor in stored.values())
    if wanted > 2 * held + SLACK:
        raise InputError(
            f"{named(checkpoint)}: its config.json says {wanted:.3g} parameters and its files hold {held:.3g}; "
            f"give the config.json and weights that belong together."
        )


def empty_model(checkpoint: Any, factory: Any) -> torch.nn.Module:
    """The checkpoint's architecture with shapes alone."""
    with reading(checkpoint, "its configuration"), torch.device("meta"):
        trusted = checkpoint.trust.remote_code
        return factory.from_config(checkpoint.config, trust_remote_code=trusted, attn_implementation="eager")


def refuse_whole_numbers(checkpoint: Any, stored: Stored, model: torch.nn.Module) -> None:
    """Refuse weights stored as integers or truth values: without a quantisation they stand for nothing."""
    for name, _ in model.named_parameters():
        if name in stored and stored[name].dtype.startswith(("I", "U", "B")) and stored[name].dtype != "BF16":
            raise InputError(
                f"{named(checkpoint)}: tensor {quoted(name)} is stored as {stored[name].dtype} and its config.json "
                f"names no quantisation; give weights of floating point."
            )


def refuse_missing(checkpoint: Any, info: Mapping[str, Any]) -> None:
    """Refuse tensors that transformers did not find, or found in another shape: it would make up random ones.

    `info` is what `from_pretrained(..., output_loading_info=True)` gives beside the model.
    """
    mismatched: list[Any] = sorted(info.get("mismatched_keys") or ())
    if mismatched:
        name, stored, wanted = mismatched[0]
        raise InputError(
            f"{named(checkpoint)}: tensor {quoted(name)} has shape {tuple(stored)} and its config.json wants "
            f"{tuple(wanted)}; give the config.json and weights that belong together."
        )
    refuse_absent(checkpoint, info.get("missing_keys") or ())


def refuse_absent(checkpoint: Any, missing: Iterable[str]) -> None:
    """Refuse a model of which tensors are missing, naming the first."""
    names = sorted(missing)
    if names:
        raise InputError(
            f"{named(checkpoint)}: tensor {quoted(names[0])} is missing from its weights ({len(names)} missing in "
            f"all), and random numbers would stand in for it; give complete weights."
        )


def refuse_broken_weights(checkpoint: Any, bridge: Any) -> None:
    """Refuse NaN or infinite weights, naming the first tensor that holds them."""
    for name, weight in bridge.original_model.named_parameters():
        if weight.is_floating_point() and not torch.isfinite(weight).all():
            raise InputError(
                f"{named(checkpoint)}: tensor {tensor_name(name)} holds NaN or infinite values and finite "
                f"weights are wanted; save the checkpoint again."
            )


def refuse_what_cannot_run(checkpoint: Any, bridge: Any, device: str) -> None:
    """Refuse a model that fails on two tokens, or gives no finite logits for them."""
    with reading(checkpoint, "its model", "run"), torch.inference_mode():
        logits = bridge(torch.zeros(1, 2, dtype=torch.long, device=device))
        if not torch.isfinite(logits).all():
            raise ValueError("its logits on two tokens are not finite")


def tensor_name(name: str) -> str:
    """The checkpoint's own name of a parameter, without the wrappers that a bridge puts around modules."""
    return name.replace("._original_component", "")
