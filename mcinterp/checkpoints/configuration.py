"""Whether a configuration describes a causal language model with sensible sizes, and brings no code."""

import json
from collections.abc import Iterator
from typing import Any

from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
)

from mcinterp.checkpoints.reading import named, refused_code
from mcinterp.errors import InputError, first_line, quoted

CONFIG = "config.json"

SIZES = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "intermediate_size",
    "max_position_embeddings",
)
NEEDED = {"vocab_size", "hidden_size", "num_hidden_layers"}


def require_object(checkpoint: Any) -> None:
    """Refuse a checkpoint whose config.json is missing, is no JSON object, or asks for code from elsewhere.

    Raises `ValueError` for what `reading` makes a sentence of.
    """
    file = checkpoint.file(CONFIG)
    if file is None:
        raise ValueError(f"there is no {CONFIG} in it")
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{CONFIG} is not JSON: {first_line(error)}") from error
    if not isinstance(entries, dict):
        raise ValueError(f"{CONFIG} holds a {type(entries).__name__}, and an object is wanted")
    if not isinstance(entries.get("model_type"), str):
        raise ValueError(f"{CONFIG} names no `model_type`")
    if not checkpoint.trust.remote_code and any("/" in name for name in implementations(entries)):
        raise refused_code(checkpoint, "its attention")


def implementations(entries: Any) -> Iterator[str]:
    """What a configuration names as implementations of its parts; a name with a slash is code on the hub."""
    for key, value in entries.items():
        if isinstance(value, dict):
            yield from implementations(value)
        elif key.endswith("_implementation") and isinstance(value, str):
            yield value


def require_language_model(checkpoint: Any, config: Any) -> None:
    """Refuse a configuration that is not a causal language model's, or whose sizes fit nothing."""
    architectures = getattr(config, "architectures", None)
    if not isinstance(architectures, list) or not architectures or not isinstance(architectures[0], str):
        raise InputError(
            f"{named(checkpoint)} has a config.json without `architectures`; a causal language model is "
            f'wanted: add for example "architectures": ["LlamaForCausalLM"] to it.'
        )
    if getattr(config, "is_encoder_decoder", False) or not is_causal(checkpoint, config, architectures[0]):
        raise InputError(
            f"{named(checkpoint)} is a {quoted(architectures[0])}; a causal language model is wanted, such as "
            f"LlamaForCausalLM."
        )
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    for name in SIZES:
        require_size(checkpoint, text, name)
    require_heads(checkpoint, text)


def is_causal(checkpoint: Any, config: Any, architecture: str) -> bool:
    """Whether an architecture writes text token by token: by transformers' own lists, or by code that is trusted."""
    if checkpoint.trust.remote_code and "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {}):
        return True
    known = (*MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values(), *MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES.values())
    return any(architecture in ((names,) if isinstance(names, str) else names) for names in known)


def require_size(checkpoint: Any, config: Any, name: str) -> None:
    """Refuse a size that is there and no positive whole number, or is needed and not there."""
    value = getattr(config, name, None)
    listed = value if isinstance(value, list | tuple) and value else [value]
    if value is None and name not in NEEDED:
        return
    if not all(isinstance(each, int) and not isinstance(each, bool) and each > 0 for each in listed):
        raise InputError(
            f"{named(checkpoint)}: `{name}` in its config.json is {quoted(value)}; a positive whole number is wanted."
        )


def require_heads(checkpoint: Any, config: Any) -> None:
    """Refuse heads that divide neither the width nor each other."""
    width, heads = config.hidden_size, getattr(config, "num_attention_heads", None)
    groups = getattr(config, "num_key_value_heads", None)
    if not isinstance(heads, int):
        return
    if not getattr(config, "head_dim", None) and width % heads:
        raise InputError(
            f"{named(checkpoint)}: `hidden_size` {width} is no multiple of `num_attention_heads` {heads}; "
            f"give the config.json that belongs to the weights."
        )
    if isinstance(groups, int) and heads % groups:
        raise InputError(
            f"{named(checkpoint)}: `num_attention_heads` {heads} is no multiple of `num_key_value_heads` {groups}; "
            f"give the config.json that belongs to the weights."
        )
