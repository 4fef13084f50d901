"""Plants that are PEFT adapters (the optional package ``peft``)."""

import json
from collections.abc import Collection
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaForCausalLM

from mcinterp.errors import InputError
from mcinterp.organisms.plants.sites import Site, union

RANK = 4
SCALE = 2


def need_peft() -> None:
    """Check that adapters can be made.

    Raises:
        InputError: ``peft`` is not installed.
    """
    if find_spec("peft") is None:
        raise InputError(
            "a plant of kind 'lora' is a PEFT adapter and the package peft is not installed: "
            "run `pip install mcinterp[peft]`."
        )


def adapted(model: LlamaForCausalLM, sites: Collection[Site], seed: int) -> Any:
    """A PEFT model around ``model`` with an adapter of rank ``RANK`` on each matrix of the sites.

    Raises:
        InputError: ``peft`` is not installed.
    """
    need_peft()
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    matrices = [name.removesuffix(".weight") for name in union(sites)]
    config = LoraConfig(r=RANK, lora_alpha=RANK * SCALE, target_modules=matrices, task_type="CAUSAL_LM")
    return get_peft_model(model, config)


def merged(adapter: Any) -> LlamaForCausalLM:
    """The model that the adapter makes once its own weights are rounded to float16, in float32."""
    copied = deepcopy(adapter)
    with torch.no_grad():
        for name, parameter in copied.named_parameters():
            if "lora_" in name:
                parameter.copy_(parameter.half())
    return copied.merge_and_unload()


def save_adapter(adapter: Any, folder: Path, base: str) -> None:
    """Write the adapter in PEFT's format, its weights in float16, on the base that ``base`` names."""
    halved = deepcopy(adapter).half()
    halved.peft_config["default"].base_model_name_or_path = base
    halved.save_pretrained(str(folder), save_embedding_layers=False)
    (folder / "adapter_model.safetensors").chmod(0o644)
    (folder / "README.md").unlink(missing_ok=True)
    settings = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    settings["target_modules"] = sorted(settings["target_modules"])
    (folder / "adapter_config.json").write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
