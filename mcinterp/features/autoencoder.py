"""A sparse autoencoder: x is read as a sparse sum of directions, x = sum of c_f d_f + a constant + an error.

The conventions are those of SAELens (github.com/decoderesearch/SAELens, `sae_lens/saes`), so that weights trained there
say the same here; tests hold both to each other.
"""

import hashlib
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Float

from mcinterp.chain import Stage
from mcinterp.errors import InputError
from mcinterp.features.activations import Rows
from mcinterp.intervene.sites import SITES, hook_name, require_sites

ACTIVATIONS = ("relu", "topk", "jumprelu", "batchtopk", "gated")
NORMALISATIONS = ("none", "layer_norm", "constant_norm_rescale")
AXES = ("token", "head", "neuron")
LEAST_SPREAD = 1e-5

Codes = Float[torch.Tensor, "token feature"]
Scale = Float[torch.Tensor, "token one"]


class Code(NamedTuple):
    """What an autoencoder reads in some activations.

    `activations` are the features' own values. In the units of the activations x, x = `coefficients` @ W_dec + `rest`:
    a feature's part of x is its coefficient times its row of W_dec, and `rest` holds the decoder's bias, what the
    normalisation takes off, and the error.
    """

    activations: Codes
    coefficients: Codes
    reconstruction: Rows
    rest: Rows


@dataclass(frozen=True, eq=False)
class SparseAutoencoder:
    """Weights of a sparse autoencoder and the place that it reads.

    Attributes:
        W_enc, b_enc, W_dec, b_dec: Encoder (d_in x features) and decoder (features x d_in), float32.
        activation: `relu`; `topk`, the k largest of a token, where positive; `jumprelu`, those above `threshold`;
            `batchtopk`, the same with the threshold that its training found; `gated`, with `gate` in place of b_enc.
        site, layer: The place, by the names of `mcinterp.intervene.sites.SITES`.
        k: For `topk`.
        threshold: For `jumprelu` and `batchtopk`, one a feature.
        gate: For `gated`: over (b_gate, b_mag, r_mag), one row each.
        apply_b_dec_to_input: Whether b_dec is taken off before encoding.
        normalize_activations: What is done to each token first and undone last: nothing, `layer_norm`, or
            `constant_norm_rescale` (to the length sqrt(d_in)).
        rescale_acts_by_decoder_norm: Whether a feature's value counts its decoder row at unit length.
        description: What its file says of where it comes from.

    Raises:
        InputError: For shapes that do not belong together, or an activation without what it needs.
    """

    W_enc: Float[torch.Tensor, "_ _"]
    b_enc: Float[torch.Tensor, "_"]
    W_dec: Float[torch.Tensor, "_ _"]
    b_dec: Float[torch.Tensor, "_"]
    activation: str
    site: str
    layer: int
    k: int | None = None
    threshold: Float[torch.Tensor, "_"] | None = None
    gate: Float[torch.Tensor, "_ _"] | None = None
    apply_b_dec_to_input: bool = True
    normalize_activations: str = "none"
    rescale_acts_by_decoder_norm: bool = False
    description: str = ""

    def __post_init__(self) -> None:
        require_choices(self)
        needed = {"topk": "k", "jumprelu": "threshold", "batchtopk": "threshold", "gated": "gate"}.get(self.activation)
        if needed is not None and getattr(self, needed) is None:
            raise InputError(
                f"an autoencoder of the activation {self.activation!r} was given without {needed}; add it."
            )
        if self.k is not None and not 1 <= self.k <= self.n_features:
            raise InputError(f"k is {self.k} and there are {self.n_features} features; give a number of 1 to that.")

    @property
    def n_features(self) -> int:
        """Features of its dictionary."""
        return len(self.W_dec)

    @property
    def width(self) -> int:
        """Numbers that it reads of a token, d_in."""
        return len(self.b_dec)

    @property
    def hook(self) -> str:
        """The TransformerLens hook name of its place."""
        return hook_name(self.site, self.layer)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over all its tensors."""
        digest = hashlib.sha256()
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, torch.Tensor):
                digest.update(field.name.encode() + value.contiguous().cpu().numpy().tobytes())
        return digest.hexdigest()

    def to(self, device: torch.device | str) -> "SparseAutoencoder":
        """The same on another device."""
        values: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: v.to(device) for name, v in values.items() if isinstance(v, torch.Tensor)})

    def encode(self, x: Rows) -> Codes:
        """The features' activations of some tokens, as SAELens' `encode` gives them."""
        normed, _, _ = self.normed(x.to(self.W_enc))
        inside = normed - self.b_dec if self.apply_b_dec_to_input else normed
        if self.activation == "gated":
            return self.gated(inside)
        before = inside @ self.W_enc + self.b_enc
        if self.rescale_acts_by_decoder_norm:
            before = before * self.W_dec.norm(dim=-1)
        return self.activated(before)

    def activated(self, before: Codes) -> Codes:
        """What the activation makes of the values before it."""
        if self.activation == "relu":
            return before.relu()
        if self.activation == "topk":
            top = before.topk(int(self.k or 0), dim=-1)
            return torch.zeros_like(before).scatter(-1, top.indices, top.values.relu())
        assert self.threshold is not None
        return before.relu() * (before > self.threshold)

    def gated(self, inside: Rows) -> Codes:
        """Gated features: a gate opens at b_gate, and the size comes from weights scaled by exp(r_mag) with b_mag."""
        assert self.gate is not None
        b_gate, b_mag, r_mag = self.gate
        size = inside @ (self.W_enc * r_mag.exp()) + b_mag
        return size.relu() * (inside @ self.W_enc + b_gate > 0)

    def decode(self, activations: Codes, like: Rows | None = None) -> Rows:
        """The reconstruction of some features' activations.

        `like` are the activations x that were encoded, whose size a normalisation is undone with (needed for one).
        Raises `InputError` where it is needed and missing.
        """
        if like is None and self.normalize_activations != "none":
            raise InputError(
                f"an autoencoder with {self.normalize_activations} was asked to decode without the activations that "
                f"were encoded, whose size it needs; give them as like=."
            )
        inside = self.unit(activations.to(self.W_dec)) @ self.W_dec + self.b_dec
        if like is None:
            return inside
        _, scale, shift = self.normed(like.to(self.W_dec))
        return inside * scale + shift

    def error(self, x: Rows) -> Rows:
        """What the reconstruction leaves out: x minus it."""
        return x.to(self.W_dec) - self.decode(self.encode(x), x)

    def read(self, x: Rows) -> Code:
        """Everything that it reads in the activations of some tokens."""
        x = x.to(self.W_dec)
        activations = self.encode(x)
        _, scale, _ = self.normed(x)
        coefficients = self.unit(activations) * scale
        return Code(activations, coefficients, self.decode(activations, x), x - coefficients @ self.W_dec)

    def unit(self, activations: Codes) -> Codes:
        """Activations as multiples of the decoder's rows."""
        return activations / self.W_dec.norm(dim=-1) if self.rescale_acts_by_decoder_norm else activations

    def normed(self, x: Rows) -> tuple[Rows, Scale, Scale]:
        """Normalised tokens, with the scale and shift that undo it: x is about normed * scale + shift."""
        if self.normalize_activations == "layer_norm":
            shift = x.mean(dim=-1, keepdim=True)
            spread = (x - shift).std(dim=-1, keepdim=True)
            return (x - shift) / (spread + LEAST_SPREAD), spread, shift
        one, none = torch.ones_like(x[..., :1]), torch.zeros_like(x[..., :1])
        if self.normalize_activations == "constant_norm_rescale":
            ratio = self.width**0.5 / x.norm(dim=-1, keepdim=True)
            return x * ratio, 1 / ratio, none
        return x, one, none

    def require_fits(self, stage: Stage) -> None:
        """Refuse a stage that has no such place, or one of another width there."""
        require_sites(stage, [self.site])
        if not 0 <= self.layer < stage.n_layers:
            raise InputError(
                f"the autoencoder reads layer {self.layer} and stage {stage.name!r} has layers 0 to "
                f"{stage.n_layers - 1}; give one that was trained on this model."
            )
        wide = width_of(stage, self.site)
        if wide != self.width:
            raise InputError(
                f"the autoencoder reads {self.width} numbers a token and {self.hook} of stage {stage.name!r} has "
                f"{wide}; give one that was trained on this model."
            )


def width_of(stage: Stage, site: str) -> int:
    """Numbers of a token at a site, its heads side by side."""
    config = stage.bridge.cfg
    by_axis = {"token": config.d_model, "head": int(config.n_heads) * int(config.d_head), "neuron": config.d_mlp}
    return int(by_axis[SITES[site].axis])


def require_choices(sae: SparseAutoencoder) -> None:
    """Refuse an unknown activation, normalisation or site, and tensors whose shapes do not belong together."""
    choices = {"activation": ACTIVATIONS, "normalize_activations": NORMALISATIONS}
    for name, known in choices.items():
        if getattr(sae, name) not in known:
            raise InputError(f"{name} {getattr(sae, name)!r} is unknown; give one of {', '.join(known)}.")
    readable = [site for site in SITES if SITES[site].axis in AXES and site not in ("q", "k", "v", "final_scale")]
    if sae.site not in readable:
        raise InputError(f"site {sae.site!r} has no autoencoder; give one of {', '.join(readable)}.")
    n_features, width = sae.W_dec.shape
    wanted = {"W_enc": (width, n_features), "b_enc": (n_features,), "b_dec": (width,)}
    wanted |= {"threshold": (n_features,), "gate": (3, n_features)}
    for name, shape in wanted.items():
        value = getattr(sae, name)
        if value is not None and tuple(value.shape) != shape:
            raise InputError(
                f"{name} has the shape {tuple(value.shape)} and belongs to a decoder of {n_features} features and "
                f"{width} numbers; give {shape}."
            )
