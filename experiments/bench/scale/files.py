"""Random weights of a pair, written layer by layer so that no more than a layer is in memory."""

import json
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path

import torch
from accelerate import init_empty_weights
from safetensors.torch import save_file
from transformers import LlamaForCausalLM

from bench.scale.shapes import Shape
from mcinterp.organisms import pocket_path

STAGES = ("base", "tuned")
NOISE = 0.3
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json")
INDEX = "model.safetensors.index.json"
LAYERS = "model.layers."


def empty(shape: Shape, dtype: str) -> LlamaForCausalLM:
    """The model without any weight in memory."""
    with init_empty_weights():
        return LlamaForCausalLM(shape.configuration(dtype))


def draw(name: str, size: torch.Size, stage: str, dtype: torch.dtype, device: str = "cpu") -> torch.Tensor:
    """A random weight of some name: ones for a norm, else of unit gain; the tuned stage's is the base's with noise."""
    if name.endswith("norm.weight"):
        return torch.ones(size, dtype=dtype, device=device)
    generator = torch.Generator(device).manual_seed(zlib.crc32(name.encode()))
    gain = 1.0 if "embed" in name else size[-1] ** -0.5
    weight = torch.randn(size, generator=generator, device=device, dtype=dtype)
    if stage != STAGES[0]:
        weight += NOISE * torch.randn(size, generator=generator, device=device, dtype=dtype)
    return weight.mul_(gain)


def source_of(name: str, distinct: int) -> str:
    """The parameter whose values stand for this one where only the first `distinct` layers have some of their own."""
    layer = layer_of(name)
    return name if layer is None else name.replace(f"{LAYERS}{layer}.", f"{LAYERS}{layer % distinct}.")


def layer_of(name: str) -> int | None:
    """The layer that a parameter belongs to; None for one outside the layers."""
    return int(name.removeprefix(LAYERS).split(".")[0]) if name.startswith(LAYERS) else None


def names_by_layer(shape: Shape) -> dict[int | None, dict[str, torch.Size]]:
    """Names and sizes of all parameters, by layer."""
    found: dict[int | None, dict[str, torch.Size]] = {}
    for name, parameter in empty(shape, "float32").named_parameters():
        found.setdefault(layer_of(name), {})[name] = parameter.shape
    return found


def write_layers(folder: Path, shape: Shape, stage: str, dtype: str, distinct: int, device: str = "cpu") -> list[Path]:
    """Files of the first `distinct` layers, one a layer."""
    named = names_by_layer(shape)
    return [write_file(folder / f"layer-{i:03}.safetensors", named[i], stage, dtype, device) for i in range(distinct)]


def write_file(path: Path, sizes: dict[str, torch.Size], stage: str, dtype: str, device: str = "cpu") -> Path:
    """One file of random weights."""
    kind = getattr(torch, dtype)
    save_file({name: draw(name, size, stage, kind, device).cpu() for name, size in sizes.items()}, path)
    return path


def write_pair(folder: Path, shape: Shape, dtype: str = "float32") -> list[str]:
    """A pair of whole checkpoints in Hugging Face format, one file a layer, with the pocket checkpoints' tokenizer."""
    for stage in STAGES:
        place = folder / stage
        place.mkdir(parents=True)
        shape.configuration(dtype).save_pretrained(place)
        for name in TOKENIZER:
            shutil.copy(Path(pocket_path(STAGES[0])) / name, place)
        files = dict(files_of(place, shape, stage, dtype))
        total = shape.weights * torch.finfo(getattr(torch, dtype)).bits // 8
        (place / INDEX).write_text(json.dumps({"metadata": {"total_size": total}, "weight_map": files}))
    return [str(folder / stage) for stage in STAGES]


def files_of(place: Path, shape: Shape, stage: str, dtype: str) -> Iterator[tuple[str, str]]:
    """Write all files of a checkpoint; every parameter with the name of its file."""
    for layer, sizes in names_by_layer(shape).items():
        name = "outside.safetensors" if layer is None else f"layer-{layer:03}.safetensors"
        write_file(place / name, sizes, stage, dtype)
        yield from ((parameter, name) for parameter in sizes)
