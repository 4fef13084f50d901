"""Writes what SAELens itself encodes and decodes, so that mcinterp can be held to it where SAELens is not installed.

For every architecture an autoencoder with random weights, biases and thresholds is saved by SAELens, loaded again, and
run on exported activations. Each folder then holds `cfg.json` and `sae_weights.safetensors` as SAELens wrote them
(`cfg-5.json` is the layout of its version 5), and `expected.safetensors`: the inputs, the features' activations and the
reconstruction. With --sae, the same is said of a trained one, whose weights are not copied. Runs in SAELens' own
environment:

    python experiments/saelens/agree.py ACTIVATIONS tests/features/saelens [--sae FOLDER]
"""

import argparse
import json
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from sae_lens import SAE
from sae_lens.saes.batchtopk_sae import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig
from sae_lens.saes.gated_sae import GatedSAE, GatedSAEConfig
from sae_lens.saes.jumprelu_sae import JumpReLUSAE, JumpReLUSAEConfig
from sae_lens.saes.sae import SAEMetadata
from sae_lens.saes.standard_sae import StandardSAE, StandardSAEConfig
from sae_lens.saes.topk_sae import TopKSAE, TopKSAEConfig
from safetensors.torch import load_file, save_file

FEATURES, TOKENS, K = 12, 8, 3
CASES: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "standard": (StandardSAE, StandardSAEConfig, {}),
    "standard-plain": (StandardSAE, StandardSAEConfig, {"apply_b_dec_to_input": False}),
    "standard-layer-norm": (StandardSAE, StandardSAEConfig, {"normalize_activations": "layer_norm"}),
    "topk": (TopKSAE, TopKSAEConfig, {"k": K}),
    "topk-rescaled": (TopKSAE, TopKSAEConfig, {"k": K, "rescale_acts_by_decoder_norm": True}),
    "jumprelu": (JumpReLUSAE, JumpReLUSAEConfig, {"normalize_activations": "constant_norm_rescale"}),
    "batchtopk": (BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig, {"k": float(K)}),
    "gated": (GatedSAE, GatedSAEConfig, {}),
}
OLD = {
    "standard": {"activation_fn_str": "relu"},
    "topk": {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": K}},
}


def randomised(sae: Any, seed: int) -> Any:
    """The autoencoder with random weights, about half of whose features fire."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in sae.named_parameters():
            size = {"W_enc": 0.1, "W_dec": 0.3, "r_mag": 0.3}.get(name, 0.5)
            value.copy_(torch.randn(value.shape, generator=generator) * size)
        if hasattr(sae, "threshold"):
            sae.threshold.abs_()
        if hasattr(sae, "topk_threshold"):
            sae.topk_threshold.fill_(1.5)
    return sae


def write_old(folder: Path, settings: dict[str, Any]) -> None:
    """The configuration in the flat layout of SAELens 5 as `cfg-5.json`, once SAELens has read it as the same."""
    config = json.loads((folder / "cfg.json").read_text(encoding="utf-8"))
    metadata = config.pop("metadata")
    flat = {name: value for name, value in config.items() if name not in ("k", "rescale_acts_by_decoder_norm")}
    flat |= {"hook_name": metadata["hook_name"], "model_name": metadata["model_name"], "hook_head_index": None}
    flat |= {"architecture": "standard", "finetuning_scaling_factor": False, "sae_lens_training_version": "5.9.0"}
    old = json.dumps(flat | settings)
    with tempfile.TemporaryDirectory() as again:
        (Path(again) / "cfg.json").write_text(old, encoding="utf-8")
        (Path(again) / "sae_weights.safetensors").write_bytes((folder / "sae_weights.safetensors").read_bytes())
        new, known = (SAE.load_from_disk(each, device="cpu") for each in (again, folder))
    assert new.cfg.architecture() == known.cfg.architecture()
    (folder / "cfg-5.json").write_text(old + "\n", encoding="utf-8")


def write_expected(folder: Path, out: Path, rows: torch.Tensor) -> None:
    """What SAELens makes of some activations with an autoencoder that it loads from a folder."""
    with torch.no_grad():
        sae = SAE.load_from_disk(folder, device="cpu")
        activations = sae.encode(rows)
        found = {"inputs": rows, "activations": activations, "reconstruction": sae.decode(activations)}
    out.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous().clone() for name, value in found.items()}, out / "expected.safetensors")
    print(out.name, f"{float((activations > 0).float().sum(-1).mean()):.1f} features a token")


def main() -> None:
    """Write all cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("activations", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--sae", type=Path)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    header = json.loads((asked.activations / "activations.json").read_text(encoding="utf-8"))
    rows = torch.cat([load_file(asked.activations / each["file"])["activations"].float() for each in header["files"]])
    chosen = rows[torch.linspace(0, len(rows) - 1, TOKENS).long()]
    small = chosen / chosen.norm(dim=-1, keepdim=True) * header["d_in"] ** 0.5
    for seed, (name, (kind, settings, options)) in enumerate(CASES.items()):
        said = SAEMetadata(model_name="pocket", hook_name=header["hook_name"])
        sae = randomised(kind(settings(d_in=header["d_in"], d_sae=FEATURES, metadata=said, **options)), seed)
        save = getattr(sae, "save_inference_model", sae.save_model)
        save(asked.out / name)
        write_expected(asked.out / name, asked.out / name, small)
        if name in OLD:
            write_old(asked.out / name, OLD[name])
    if asked.sae is not None:
        write_expected(asked.sae, asked.out / "trained", chosen)
    made = {"program": "experiments/saelens/agree.py", "sae_lens": version("sae-lens"), "torch": version("torch")}
    made["command"] = (
        "python experiments/saelens/agree.py ACTIVATIONS tests/features/saelens --sae mcinterp/organisms/autoencoder"
    )
    (asked.out / "made.json").write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
