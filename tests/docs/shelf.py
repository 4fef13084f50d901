"""What the pages take for granted: checkpoints in directories, an adapter, and a hub that has the named models cached.

All of them are the pocket checkpoints, which are small and really collapse.
"""

from pathlib import Path

import pytest
from huggingface_hub import constants
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from mcinterp.organisms import pocket_path

DIRECTORIES = {"my-models/base": "base", "my-models/sft": "sft", "my-models/rl": "rl"}
HUB = {
    "HuggingFaceTB/SmolLM2-135M": "base",
    "HuggingFaceTB/SmolLM2-135M-Instruct": "sft",
    "allenai/OLMo-2-0425-1B": "base",
    "allenai/OLMo-2-0425-1B-SFT": "sft",
    "allenai/OLMo-2-0425-1B-DPO": "rl",
    "allenai/OLMo-2-0425-1B-Instruct": "sft",
}
COMMIT = "a" * 40


def lay_out(folder: Path) -> None:
    """The directories that pages name, below a folder."""
    for name, stage in DIRECTORIES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).symlink_to(pocket_path(stage))


def adapter(folder: Path) -> None:
    """A LoRA adapter of the pocket base, as PEFT saves it, in `my-adapter`."""
    model = AutoModelForCausalLM.from_pretrained(pocket_path("base"))
    settings = LoraConfig(r=4, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    made = get_peft_model(model, settings)
    made.peft_config["default"].base_model_name_or_path = "my-models/base"
    made.save_pretrained(folder / "my-adapter")


def hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of the hub's own layout in the place of the hub, which cannot be reached."""
    for name, stage in HUB.items():
        root = folder / "hub" / f"models--{name.replace('/', '--')}"
        (root / "refs").mkdir(parents=True)
        (root / "refs" / "main").write_text(COMMIT)
        (root / "snapshots").mkdir()
        (root / "snapshots" / COMMIT).symlink_to(pocket_path(stage))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_CACHE", str(folder / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
