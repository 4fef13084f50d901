"""Trains a sparse autoencoder by SAELens on activations that `mcinterp.export_activations` has written.

Runs in an environment that holds SAELens (`pip install sae-lens`) and needs no mcinterp. The autoencoder is saved by
SAELens itself (`save_inference_model`), with `trained.json` beside it.

    python experiments/saelens/train.py ACTIVATIONS OUT [--architecture topk] [--features 512] [--k 16] [--stages base]
"""

import argparse
import json
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from sae_lens import (
    BatchTopKTrainingSAE,
    BatchTopKTrainingSAEConfig,
    StandardTrainingSAE,
    StandardTrainingSAEConfig,
    TopKTrainingSAE,
    TopKTrainingSAEConfig,
)
from sae_lens.config import LoggingConfig, SAETrainerConfig
from sae_lens.saes.sae import SAEMetadata
from sae_lens.training.sae_trainer import SAETrainer
from safetensors.torch import load_file

KINDS: dict[str, tuple[Any, Any]] = {
    "standard": (StandardTrainingSAE, StandardTrainingSAEConfig),
    "topk": (TopKTrainingSAE, TopKTrainingSAEConfig),
    "batchtopk": (BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig),
}


def activations(folder: Path, stages: list[str] | None) -> tuple[dict[str, Any], torch.Tensor]:
    """The header of an export and the activations of some stages, all by default."""
    header = json.loads((folder / "activations.json").read_text(encoding="utf-8"))
    files = [each["file"] for each in header["files"] if stages is None or each["stage"] in stages]
    if not files:
        raise SystemExit(f"none of the stages {stages} is in {folder}; give some of {list(header['stages'])}.")
    return header, torch.cat([load_file(folder / name)["activations"].float() for name in files])


def shuffled(rows: torch.Tensor, batch: int, seed: int) -> Iterator[torch.Tensor]:
    """Batches of rows without an end, in a new order each time round: SAELens' DataProvider."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(len(rows), generator=generator)
        for start in range(0, len(rows) - batch + 1, batch):
            yield rows[order[start : start + batch]]


def settings(asked: argparse.Namespace, header: dict[str, Any]) -> dict[str, Any]:
    """SAELens' settings of the autoencoder."""
    said = {"model_name": "+".join(asked.stages or header["stages"]), "hook_name": header["hook_name"]}
    common = {"d_in": header["d_in"], "d_sae": asked.features, "metadata": SAEMetadata(**said)}
    if asked.architecture == "standard":
        return {**common, "l1_coefficient": asked.l1}
    return {**common, "k": asked.k}


def explained(sae: Any, rows: torch.Tensor) -> float:
    """1 - |x - reconstruction|^2 / |x - mean|^2 over all rows."""
    with torch.no_grad():
        left = sum(float((part - sae.decode(sae.encode(part))).pow(2).sum()) for part in rows.split(4096))
    return 1 - left / float((rows - rows.mean(dim=0)).pow(2).sum())


def main() -> None:
    """Train, save, and say how well it reconstructs what it was trained on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("activations", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--architecture", choices=sorted(KINDS), default="topk")
    parser.add_argument("--stages", nargs="*")
    parser.add_argument("--features", type=int, default=512)
    parser.add_argument("--k", type=int, default=16)
    parser.add_argument("--l1", type=float, default=1.0)
    parser.add_argument("--tokens", type=int, default=4_000_000)
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.manual_seed(asked.seed)
    header, rows = activations(asked.activations, asked.stages)
    training, configuration = KINDS[asked.architecture]
    sae = training(configuration(**settings(asked, header)))
    trainer = SAETrainer(
        cfg=SAETrainerConfig(
            total_training_samples=asked.tokens,
            train_batch_size_samples=min(asked.batch, len(rows)),
            lr=asked.rate,
            lr_end=asked.rate / 10,
            lr_warm_up_steps=50,
            lr_decay_steps=asked.tokens // asked.batch // 5,
            logger=LoggingConfig(log_to_wandb=False),
        ),
        sae=sae,
        data_provider=shuffled(rows, min(asked.batch, len(rows)), asked.seed),
    )
    trained: Any = trainer.fit()
    trained.save_inference_model(str(asked.out))
    said = {key: value for key, value in vars(asked).items() if key not in ("activations", "out")}
    record = {
        "command": " ".join(["python experiments/saelens/train.py ACTIVATIONS OUT", *sys.argv[3:]]),
        "settings": said,
        "sae_lens": version("sae-lens"),
        "torch": version("torch"),
        "rows": len(rows),
        "explained_variance_in_training": explained(trained, rows),
        "activations": {name: header[name] for name in ("hook_name", "sequences", "skipped", "dtype")}
        | {"stages": {name: stage["spec"] for name, stage in header["stages"].items()}},
    }
    (asked.out / "trained.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
