"""Autoencoders whose features are known: orthogonal ones that reconstruct exactly, and random ones that do not."""

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from conftest import tokenizer
from mcinterp.chain import Chain, load_pair
from mcinterp.features.autoencoder import SparseAutoencoder

WIDTH, LAYER, FAR = 24, 1, 50.0


def orthogonal(seed: int = 0, *, site: str = "resid_post", layer: int = LAYER) -> SparseAutoencoder:
    """24 orthogonal directions, all active at every token (the bias lies far off), which reconstruct anything."""
    directions = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(seed)))[0]
    bias = -FAR * directions.sum(dim=0)
    return SparseAutoencoder(directions.T.contiguous(), torch.zeros(WIDTH), directions, bias, "relu", site, layer)


def sparse(seed: int = 0, *, site: str = "resid_post", layer: int = LAYER, width: int = WIDTH) -> SparseAutoencoder:
    """31 random features, five of them active at a token, with an error left over."""
    draw = torch.Generator().manual_seed(seed)
    encoder, decoder = torch.randn(width, 31, generator=draw), torch.randn(31, width, generator=draw)
    decoder = decoder / decoder.norm(dim=-1, keepdim=True)
    biases = torch.randn(31, generator=draw) * 0.1, torch.randn(width, generator=draw) * 0.1
    return SparseAutoencoder(encoder, biases[0], decoder, biases[1], "topk", site, layer, k=5)


def planted(base: Path, folder: Path, direction: torch.Tensor, *, size: float = 3.0) -> Chain:
    """The base beside itself with a rank-one write along a direction, by the MLP of the layer."""
    model = AutoModelForCausalLM.from_pretrained(base)
    reads = torch.randn(model.config.intermediate_size, generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        model.model.layers[LAYER].mlp.down_proj.weight += size * torch.outer(direction, reads)
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return load_pair(str(base), str(folder), names=["base", "tuned"])
