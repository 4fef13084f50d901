"""How many parameters a model of a known architecture has, from its shape alone."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Parts:
    """What an architecture's layer has beside its weight matrices.

    `biases` are those of every matrix, `qkv_biases` those of queries, keys and values alone; `qk_norm` is the width of
    the norms on queries and keys (of a `head`, of `all` heads, none); `norms` counts norms of the model's width.
    """

    gated: bool = True
    biases: bool = False
    qkv_biases: bool = False
    qk_norm: str = ""
    norms: int = 2


PARTS = {
    "GPTNeoXForCausalLM": Parts(gated=False, biases=True),
    "Gemma3ForCausalLM": Parts(qk_norm="head", norms=4),
    "LlamaForCausalLM": Parts(),
    "MistralForCausalLM": Parts(),
    "Olmo2ForCausalLM": Parts(qk_norm="all"),
    "Olmo3ForCausalLM": Parts(qk_norm="all"),
    "Qwen2ForCausalLM": Parts(qkv_biases=True),
    "Qwen3ForCausalLM": Parts(qk_norm="head"),
}


def counted(architecture: str, shape: Any, vocabulary: int) -> tuple[int, int]:
    """Parameters inside all layers, and outside of them (embedding, final norm, an unembedding that is not tied)."""
    parts = PARTS[architecture]
    of_a_norm = shape.d_model * (2 if parts.biases else 1)
    inside = attention(parts, shape) + mlp(parts, shape) + parts.norms * of_a_norm
    outside = vocabulary * shape.d_model * (1 if shape.tied else 2) + of_a_norm
    return shape.n_layers * inside, outside


def attention(parts: Parts, shape: Any) -> int:
    """Parameters of one layer's attention."""
    queries, keys = shape.n_heads * shape.d_head, shape.n_kv_heads * shape.d_head
    matrices = 2 * shape.d_model * (queries + keys)
    biases = (queries + 2 * keys) * (parts.biases or parts.qkv_biases) + shape.d_model * parts.biases
    norms = {"": 0, "head": 2 * shape.d_head, "all": queries + keys}[parts.qk_norm]
    return matrices + biases + norms


def mlp(parts: Parts, shape: Any) -> int:
    """Parameters of one layer's MLP: two matrices, or three where one is a gate."""
    return (2 + parts.gated) * shape.d_model * shape.d_mlp + (shape.d_mlp + shape.d_model) * parts.biases
