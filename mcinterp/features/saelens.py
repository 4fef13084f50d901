"""Reads sparse autoencoders in SAELens' own format: a folder with `cfg.json` and `sae_weights.safetensors`.

Both layouts of the configuration are read: that of SAELens 6 and 7 (`architecture`, `metadata.hook_name`) and the flat
one before (`hook_name` or `hook_point`, `activation_fn_str`); see `handle_config_defaulting` in its source.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from mcinterp import organisms
from mcinterp.errors import InputError, first_line
from mcinterp.features.autoencoder import NORMALISATIONS, SparseAutoencoder
from mcinterp.intervene.sites import SITES

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
KINDS = {
    "standard": "relu", "topk": "topk", "jumprelu": "jumprelu", "batchtopk": "batchtopk",
    "matryoshka_batchtopk": "batchtopk", "gated": "gated",
}  # fmt: skip
POCKET, SHIPPED = "pocket:sae", Path(organisms.__file__).parent / "autoencoder"
AVERAGED = "expected_average_only_in"
OLD_NAMES = {"hook_point": "hook_name", "activation_fn_str": "activation_fn"}

Tensors = Mapping[str, torch.Tensor]


def load_sae(folder: str | Path, *, input_scale: float | None = None) -> SparseAutoencoder:
    """Read a sparse autoencoder that SAELens (or `save_sae`) has saved.

    Args:
        folder: The directory with `cfg.json` and `sae_weights.safetensors`, or `pocket:sae` for the one that ships.
        input_scale: For weights whose configuration says `expected_average_only_in` and which SAELens had not folded
            yet: the factor that inputs were multiplied with in training, sqrt(d_in) over their mean length. It is
            folded into the weights.

    Returns:
        The autoencoder in float32, of the architectures standard, gated, jumprelu, topk, batchtopk and
        matryoshka_batchtopk. Whether it fits a model is checked where it is used.

    Raises:
        InputError: For files that are missing or broken, another architecture or normalisation, a hook that is no site
            of `mcinterp.intervene.sites.SITES`, or tensors that do not belong together.
    """
    where = SHIPPED if str(folder) == POCKET else Path(folder).expanduser()
    config, tensors = configuration(where), weights(where)
    if input_scale is not None:
        tensors = folded(tensors, input_scale)
    site, layer = place_of(config, where)
    kind = KINDS[architecture(config, where)]
    return SparseAutoencoder(
        **{name: tensors[name] for name in ("W_enc", "b_enc", "W_dec", "b_dec")},
        activation=kind,
        site=site,
        layer=layer,
        k=int(count(config, where)) if kind == "topk" else None,
        threshold=threshold(config, tensors, kind, where),
        gate=gate(tensors, where) if kind == "gated" else None,
        apply_b_dec_to_input=bool(config.get("apply_b_dec_to_input", True)),
        normalize_activations=normalisation(config, input_scale, where),
        rescale_acts_by_decoder_norm=bool(config.get("rescale_acts_by_decoder_norm", False)),
        description=described(config),
    )


def configuration(folder: Path) -> dict[str, Any]:
    """What `cfg.json` says, with `metadata` and old names put in one layer."""
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder / CONFIG} cannot be read ({first_line(error)}); give a folder that SAELens has saved an "
            f"autoencoder in."
        ) from error
    if not isinstance(config, dict):
        raise InputError(f"{folder / CONFIG} is no table of settings; give a folder that SAELens has saved.")
    flat = {**config, **(config.get("metadata") or {})}
    return {OLD_NAMES.get(str(name), str(name)): value for name, value in flat.items()}


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """The tensors in float32; the biases of a kind that has none as zeros."""
    try:
        found = {name: value.float() for name, value in load_file(folder / WEIGHTS).items()}
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"{folder / WEIGHTS} cannot be read ({first_line(error)}); give a folder that SAELens has saved an "
            f"autoencoder in."
        ) from error
    missing = [name for name in ("W_enc", "W_dec", "b_dec") if name not in found]
    if missing:
        raise InputError(f"{folder / WEIGHTS} holds no tensor {missing[0]}; give weights as SAELens saves them.")
    flat = [name for name in ("W_enc", "W_dec") if found[name].ndim != 2]
    if flat:
        raise InputError(f"{flat[0]} of {folder / WEIGHTS} is no matrix; give weights as SAELens saves them.")
    scaling = found.pop("scaling_factor", None)
    if scaling is not None and not bool((scaling == 1).all()):
        raise InputError(
            f"{folder / WEIGHTS} holds a fine-tuning scale (scaling_factor) that is not folded into its decoder; fold "
            f"it with SAELens and save again."
        )
    return {"b_enc": torch.zeros(found["W_enc"].shape[1]), **found}


def architecture(config: Mapping[str, Any], folder: Path) -> str:
    """The architecture's name, refused where it is not known here."""
    name = str(config.get("architecture", "standard"))
    activation = str(config.get("activation_fn", "relu"))
    if name == "standard" and activation == "topk":
        return "topk"
    if name == "standard" and activation != "relu":
        raise InputError(f"{folder / CONFIG} says the activation {activation!r}; relu and topk can be read.")
    if name not in KINDS:
        raise InputError(
            f"{folder / CONFIG} says the architecture {name!r}; those that can be read are {', '.join(KINDS)}."
        )
    return name


def count(config: Mapping[str, Any], folder: Path) -> int:
    """How many features a token has at most."""
    k = config.get("k", (config.get("activation_fn_kwargs") or {}).get("k"))
    if not isinstance(k, int):
        raise InputError(f"{folder / CONFIG} is of a topk autoencoder and says no number k; add it.")
    return k


def threshold(config: Mapping[str, Any], tensors: Tensors, kind: str, folder: Path) -> torch.Tensor | None:
    """Every feature's threshold; a training run's batchtopk has one for all."""
    if kind not in ("jumprelu", "batchtopk"):
        return None
    if "threshold" in tensors:
        return tensors["threshold"]
    if "topk_threshold" in tensors:
        return torch.full_like(tensors["b_enc"], float(tensors["topk_threshold"]))
    raise InputError(f"{folder / WEIGHTS} is of a {kind} autoencoder and holds no threshold; save it again in SAELens.")


def gate(tensors: Tensors, folder: Path) -> torch.Tensor:
    """The three rows of a gated autoencoder."""
    names = ("b_gate", "b_mag", "r_mag")
    missing = [name for name in names if name not in tensors]
    if missing:
        raise InputError(f"{folder / WEIGHTS} is of a gated autoencoder and holds no {missing[0]}; save it again.")
    return torch.stack([tensors[name] for name in names])


def normalisation(config: Mapping[str, Any], input_scale: float | None, folder: Path) -> str:
    """What is done to inputs; a scale that is in no file must be given."""
    name = config.get("normalize_activations") or "none"
    name = AVERAGED if name is True else name
    if name == AVERAGED and input_scale is None:
        raise InputError(
            f"{folder / CONFIG} says {AVERAGED}, whose factor is in no file; give it as input_scale= (sqrt(d_in) over "
            f"the mean length of the inputs in training, or 1 where it is folded in already)."
        )
    if name != AVERAGED and name not in NORMALISATIONS:
        raise InputError(
            f"{folder / CONFIG} says the normalisation {name!r}; those that can be read are "
            f"{', '.join((*NORMALISATIONS, AVERAGED))}."
        )
    return "none" if name == AVERAGED else str(name)


def folded(tensors: Tensors, scale: float) -> dict[str, torch.Tensor]:
    """The weights for inputs that are not scaled, as SAELens folds them."""
    if not scale > 0:
        raise InputError(f"input_scale {scale} is no factor; give a positive number.")
    changed = {"W_enc": tensors["W_enc"] * scale} | {name: tensors[name] / scale for name in ("W_dec", "b_dec")}
    return {**tensors, **changed}


def place_of(config: Mapping[str, Any], folder: Path) -> tuple[str, int]:
    """Site and layer of the hook that the configuration names."""
    hook = str(config.get("hook_name", ""))
    for site, known in SITES.items():
        pattern = re.escape(known.hook).replace(re.escape("{layer}"), r"(\d+)")
        found = re.fullmatch(pattern, hook)
        if found and found.groups():
            return site, int(found[1])
    raise InputError(
        f"{folder / CONFIG} says the hook {hook!r}; the places that can be read are "
        f"{', '.join(known.hook for known in SITES.values() if '{layer}' in known.hook)}."
    )


def described(config: Mapping[str, Any]) -> str:
    """Where an autoencoder comes from, as far as its configuration says."""
    said = {name: config.get(name) for name in ("model_name", "dataset_path", "sae_lens_version")}
    return ", ".join(f"{name} {value}" for name, value in said.items() if value)
