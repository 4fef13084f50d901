"""Writes sparse autoencoders in SAELens' own format."""

from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from mcinterp.features.autoencoder import SparseAutoencoder
from mcinterp.features.saelens import CONFIG, WEIGHTS
from mcinterp.results import made_folder, write_json, write_whole

ARCHITECTURES = {"relu": "standard", "topk": "topk", "jumprelu": "jumprelu", "batchtopk": "jumprelu", "gated": "gated"}


def save_sae(sae: SparseAutoencoder, folder: str | Path, *, model_name: str = "") -> Path:
    """Write an autoencoder as SAELens 6 does, so that `SAE.load_from_disk` reads it; batchtopk is saved as jumprelu."""
    where = made_folder(folder)
    tensors = {name: getattr(sae, name) for name in ("W_enc", "W_dec", "b_dec")}
    if sae.gate is None:
        tensors["b_enc"] = sae.b_enc
    else:
        tensors |= dict(zip(("b_gate", "b_mag", "r_mag"), sae.gate, strict=True))
    if sae.threshold is not None:
        tensors["threshold"] = sae.threshold
    whole = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
    write_whole(where / WEIGHTS, lambda file: save_file(whole, file))
    write_json(where / CONFIG, saved_configuration(sae, model_name))
    return where


def saved_configuration(sae: SparseAutoencoder, model_name: str) -> dict[str, Any]:
    """The settings as SAELens 6 writes them."""
    config = {
        "architecture": ARCHITECTURES[sae.activation],
        "d_in": sae.width,
        "d_sae": sae.n_features,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": sae.apply_b_dec_to_input,
        "normalize_activations": sae.normalize_activations,
        "reshape_activations": "hook_z" if sae.site == "z" else "none",
        "metadata": {"sae_lens_version": "6.0.0", "hook_name": sae.hook, "model_name": model_name},
    }
    if sae.activation == "topk":
        config |= {"k": sae.k, "rescale_acts_by_decoder_norm": sae.rescale_acts_by_decoder_norm}
    return config
