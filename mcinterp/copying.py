"""Which attention heads copy, read from the weights: the eigenvalues of token -> OV -> token (Elhage et al. 2021)."""

import numpy as np
import torch
from jaxtyping import Float

from mcinterp.chain import Stage
from mcinterp.errors import InputError
from mcinterp.folding import block_norm, final_norm, folded_unembedding, linear_weight
from mcinterp.placement.loading import refuse_quantised

Square = Float[torch.Tensor, "d_model d_model"]
Inwards = Float[torch.Tensor, "head d_model d_head"]
Outwards = Float[torch.Tensor, "head d_head d_model"]


@torch.inference_mode()
def copying_scores(stage: Stage) -> Float[np.ndarray, "layer head"]:
    """Sum of the eigenvalues of W_E W_V W_O W_U over the sum of their absolute values; in [-1, 1].

    1 where a head raises the logits of the very tokens it attends to (Elhage et al. 2021, "copying"), -1 where it
    lowers them. The matrix is vocabulary x vocabulary, but its non-zero eigenvalues are those of W_O (W_U W_E) W_V,
    d_head x d_head. Gains (and centring) of the norms before the attention, behind it (OLMo-2, Gemma-2) and before the
    unembedding are folded in, and the mean over the vocabulary is taken off W_U; the norms' data-dependent scales,
    positions, biases, and what earlier layers make of an embedding are not in it. Heads that share keys and values
    share W_V. Missing where an architecture has no single value and output projections, or
    embeddings of another width.
    """
    try:
        between = unembed_embed(stage)
        circuits = [ov_circuit(stage, layer) for layer in range(stage.n_layers)]
    except InputError:
        return np.full((stage.n_layers, int(stage.bridge.cfg.n_heads)), np.nan)
    return np.stack([eigenvalue_share(v, o, between.to(v)).cpu().numpy() for v, o in circuits])


def ov_circuit(stage: Stage, layer: int) -> tuple[Inwards, Outwards]:
    """W_V and W_O of every head with the norms' gains folded in, float64: residual stream to residual stream.

    Raises `InputError` where the attention has no single value and output projections.
    """
    refuse_quantised(stage.checkpoint)
    attention, config = stage.bridge.blocks[layer].attn, stage.bridge.cfg
    if getattr(attention, "v", None) is None or getattr(attention, "o", None) is None:
        raise InputError(f"stage {stage.name!r}, layer {layer}: its attention has no value and output projections.")
    heads = int(config.n_heads)
    groups = int(config.n_key_value_heads or heads)
    value = linear_weight(attention.v.original_component).double()
    before = block_norm(stage, layer, "ln1")
    if before is not None:
        value = before.gain.to(value.device).unsqueeze(-1) * value
        value = value - value.mean(dim=0) if before.centred else value
    out = linear_weight(attention.o.original_component).double()
    behind = block_norm(stage, layer, "ln1_post")
    out = out if behind is None else behind.linear(out)
    v = value.unflatten(-1, (groups, -1)).transpose(0, 1).repeat_interleave(heads // groups, dim=0)
    return v, out.unflatten(0, (heads, -1))


def unembed_embed(stage: Stage) -> Square:
    """W_U' W_E of d_model x d_model, by blocks of tokens, W_U without its mean over the vocabulary; float64."""
    embedding = stage.bridge.embed.original_component.weight.detach()[: stage.readout.vocabulary]
    norm = final_norm(stage)
    if embedding.shape[-1] != len(norm.gain):
        raise InputError(
            f"stage {stage.name!r}: its embedding has {embedding.shape[-1]} numbers a token and its residual stream "
            f"{len(norm.gain)}; copying needs the two alike."
        )
    blocks = folded_unembedding(stage, norm)
    total, sums, start = torch.zeros(len(norm.gain), len(norm.gain), dtype=torch.float64), [0.0, 0.0], 0
    total = total.to(stage.readout.weight.device)
    for block in blocks:
        tokens = embedding[start : start + len(block)].double().to(block.device)
        total += block.T @ tokens
        sums = [sums[0] + block.sum(dim=0), sums[1] + tokens.sum(dim=0)]
        start += len(block)
    first, second = (torch.as_tensor(each) for each in sums)
    return total - first.outer(second) / stage.readout.vocabulary


def eigenvalue_share(v: Inwards, o: Outwards, between: Square) -> Float[torch.Tensor, "head"]:
    """Sum of eigenvalues over sum of their absolute values, of W_O between W_V of every head."""
    values = torch.linalg.eigvals(o @ between @ v)
    size = values.abs().sum(dim=-1)
    return torch.where(size > 0, values.real.sum(dim=-1) / size, torch.nan)
