"""Pairs of random weights without checkpoints on disk: whole on a device, or with layers that repeat a few files."""

import random
from pathlib import Path
from typing import Any

import torch
from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoModelForCausalLM

import mcinterp
from bench.pairs import tokenizer
from bench.scale.ceilings import forget_pages
from bench.scale.files import STAGES, draw, empty, layer_of, source_of, write_layers
from bench.scale.shapes import CONTEXT, Shape
from mcinterp.alignment import Alignment, vocabulary_size
from mcinterp.chain import Stage
from mcinterp.checkpoints import parse_chain
from mcinterp.placement.loading import Hold
from mcinterp.placement.residency import STORED, Absent, Group, Residency, Stored, stored_of
from mcinterp.placement.skeletons import attached, slots_of


class FromDisk(Residency):
    """Layers that are read from the disk every time: the page cache is told to forget their files."""

    def read(self, layer: int) -> tuple[list[torch.Tensor], Any]:
        """Read a layer and have the system forget its files."""
        found = super().read(layer)
        for file in {stored_of(slot.absent).file for slot in self.layers[layer]}:
            forget_pages(file)
        return found


def write_settings(folder: Path, shape: Shape, dtype: str) -> None:
    """The configuration and a tokenizer of as many words as the vocabulary has rows."""
    shape.configuration(dtype).save_pretrained(folder)
    tokenizer(shape.vocabulary).save_pretrained(folder)


def resident(folder: Path, shape: Shape, dtype: str, device: str, distinct: int | None = None) -> mcinterp.Chain:
    """A pair whose weights are drawn on the device; layers repeat after the first `distinct`."""
    return chain_of(
        folder, shape, dtype, device, [whole(folder, shape, s, dtype, device, distinct) for s in STAGES], "together"
    )


def streamed(
    folder: Path, shape: Shape, dtype: str, device: str, distinct: int, *, cold: bool = False
) -> mcinterp.Chain:
    """A pair whose layers are read from the files of the first `distinct` layers, which are written here."""
    bridges = []
    for stage in STAGES:
        (folder / stage).mkdir()
        files = write_layers(folder / stage, shape, stage, dtype, distinct, device)
        bridge = bridged(folder, skeleton(shape, stage, dtype, device, files), device)
        (checkpoint, _) = parse_chain([str(folder)] * 2)
        layers = [list(slots_of(checkpoint, block)) for block in bridge.blocks]
        kind = FromDisk if cold else Residency
        bridges.append(attached(bridge, kind(stage, layers, device, "stream", Group())))
    return chain_of(folder, shape, dtype, device, bridges, "stream")


def whole(folder: Path, shape: Shape, stage: str, dtype: str, device: str, distinct: int | None) -> Any:
    """One bridge with its weights on the device."""
    kind = getattr(torch, dtype)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(shape.configuration(dtype), dtype=kind)
    for name, parameter in model.named_parameters():
        source = source_of(name, distinct or shape.n_layers)
        parameter.data = draw(source, parameter.shape, stage, kind, device)
    return bridged(folder, model, device)


def skeleton(shape: Shape, stage: str, dtype: str, device: str, files: list[Path]) -> torch.nn.Module:
    """A model whose layers lie in files, the file of a layer being that of its number modulo their count."""
    model, kind = empty(shape, dtype), getattr(torch, dtype)
    for name, parameter in list(model.named_parameters()):
        layer = layer_of(name)
        put = torch.nn.Parameter(torch.empty(0), requires_grad=False)
        if layer is None:
            put.data = draw(name, parameter.shape, stage, kind, device)
        else:
            put = Absent(parameter.data.to(kind), requires_grad=False)
            key = source_of(name, len(files))
            setattr(put, STORED, Stored(str(files[layer % len(files)]), key, device, kind))
        holder, _, attribute = name.rpartition(".")
        model.get_submodule(holder)._parameters[attribute] = put
    for buffer in model.buffers():
        buffer.data = buffer.data.to(device)
    return model


def bridged(folder: Path, model: torch.nn.Module, device: str) -> Any:
    """A model as a TransformerBridge in eval mode."""
    bridge = TransformerBridge.boot_transformers(str(folder), hf_model=model)
    bridge.cfg.device = device
    return bridge.eval()


def chain_of(folder: Path, shape: Shape, dtype: str, device: str, bridges: list[Any], hold: str) -> mcinterp.Chain:
    """A chain around loaded bridges, which are alike by construction."""
    checkpoints = parse_chain([str(folder)] * len(bridges), list(STAGES))
    stages = tuple(
        Stage(c.name, c, device, getattr(torch, dtype), shape.vocabulary, Hold(hold), loaded=bridge)
        for c, bridge in zip(checkpoints, bridges, strict=True)
    )
    rows = vocabulary_size([shape.vocabulary] * len(bridges))
    return mcinterp.Chain(stages, Alignment(STAGES, (rows,), shape.vocabulary, CONTEXT))


def prompts(shape: Shape, count: int, tokens: int, seed: int = 0) -> mcinterp.Prompts:
    """Random prompts of as many tokens each."""
    source = random.Random(seed)
    words = ([f"t{source.randrange(1, shape.vocabulary)}" for _ in range(tokens)] for _ in range(count))
    return mcinterp.Prompts.from_texts([" ".join(each) for each in words])
