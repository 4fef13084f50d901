"""What a configuration says of a model's shape: by the names of the field, whatever its own names are."""

from collections.abc import Callable
from typing import Any

from mcinterp.readout import logit_multiplier


def attribute(*names: str) -> Callable[[Any], Any]:
    """A reader of the first of several configuration attributes that is there."""

    def read(config: Any) -> Any:
        return next((getattr(config, name) for name in names if getattr(config, name, None) is not None), None)

    return read


def n_key_value_heads(config: Any) -> Any:
    """Key-value heads; as many as heads where the architecture does not group them."""
    return attribute("num_key_value_heads", "num_attention_heads")(config)


def d_head(config: Any) -> Any:
    """Width of one head."""
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def d_mlp(config: Any) -> Any:
    """Width of the MLP; four times the model's where a GPT-2 configuration leaves it out."""
    return attribute("intermediate_size", "n_inner", "ffn_dim")(config) or 4 * config.hidden_size


SHAPES: dict[str, Callable[[Any], Any]] = {
    "n_layers": attribute("num_hidden_layers"),
    "d_model": attribute("hidden_size"),
    "n_heads": attribute("num_attention_heads"),
    "n_key_value_heads": n_key_value_heads,
    "d_head": d_head,
    "d_mlp": d_mlp,
    "logit softcap": attribute("final_logit_softcapping"),
    "logit multiplier": logit_multiplier,
}
REPORTED: dict[str, Callable[[Any], Any]] = {
    "context": attribute("max_position_embeddings"),
    "tied unembedding": attribute("tie_word_embeddings"),
    "stored dtype": attribute("dtype"),
    "rotary embedding": attribute("rope_parameters"),
}
