"""What single neurons do to the next-token distribution, and how much of it through the final norm's scale."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float

from mcinterp.chain import Chain, Stage
from mcinterp.divergence import Followed
from mcinterp.errors import InputError
from mcinterp.folding import Norm, final_norm, mlp_down
from mcinterp.growth import (
    RUN_BYTES,
    followed,
    last_residuals,
    measured,
    prefixes,
)
from mcinterp.intervene.inputs import PromptsLike, as_sequences, reads_of, require_token
from mcinterp.intervene.metrics import OF_ONE_RUN
from mcinterp.neurons.ablation import Residuals, by_forward_passes, clean_neurons, from_final_residual, knows_its_output
from mcinterp.neurons.selection import pairs_of
from mcinterp.progress import Progress
from mcinterp.rendering import RenderedPrompts, token_strings
from mcinterp.results import describe, with_provenance, with_token_strings
from mcinterp.sequences import provenance


def neuron_effects(
    chain: Chain,
    prompts: PromptsLike,
    neurons: Mapping[int, Sequence[int]],
    *,
    read_at: int = 0,
    attractor: int | None = None,
    exact_last: bool = True,
) -> xr.Dataset:
    """Ablate neurons one at a time and read the next-token distribution, with the final norm's scale free and frozen.

    Mean ablation: the neuron is set to its mean over all tokens of the prompts, at every token. The total effect is
    ablated minus clean; the direct effect is the same with the final norm's scale kept at its clean value (Stolfo et
    al. 2024); what is left of the total goes through that scale (see `mediated_share`).

    For the last layer both follow from the final residual, without another forward pass: only its own output and the
    norm behind it stand in between. For other layers the layers above run for many neurons at once.

    Args:
        chain: A pair or chain of checkpoints.
        prompts: Texts, prompts, rendered prompts, or teacher-forced sequences.
        neurons: The neurons of each layer; the same in every stage.
        read_at: The position whose next-token distribution is read (0: after the prompt).
        attractor: The followed token id; the last stage's most likely token by default.
        exact_last: Whether the last layer's effects are computed from the final residual, or run as any other layer's.

    Returns:
        A dataset over `stage, prompt, unit` (a unit is a neuron of a layer): the clean values over `stage, prompt`,
        `<metric>_effect` and `<metric>_direct` (nats), `kl_to_clean`, the neuron's `activation` at the read token, and
        `activation_mean` over `stage, unit`.

    Raises:
        InputError: For neurons, layers, positions or tokens that do not exist, or an MLP without an output projection.
    """
    require_neurons(chain, neurons)
    sequences = as_sequences(chain, prompts)
    ids = prefixes(sequences, reads_of(sequences, read_at)[0])
    finals = [last_residuals(stage, ids) for stage in chain.stages]
    follow = followed(chain, finals, require_token(chain, attractor))
    each = [
        stage_effects(stage, ids, residual, neurons, follow, exact_last)
        for stage, residual in zip(chain.stages, finals, strict=True)
    ]
    dataset = labelled(chain, sequences.prompts, neurons, each)
    dataset["attractor"] = ("prompt", follow.attractor.cpu().numpy().astype(np.int32))
    decode = chain.tuned.tokenizer
    dataset = with_token_strings(dataset, lambda i: token_strings(decode, [i])[0], dataset["attractor"].values)
    made = {"read_at": read_at, "ablation": "mean over all tokens of the prompts"}
    return with_provenance(describe(dataset), analysis="neuron_effects", **made, **provenance(chain, sequences))


def require_neurons(chain: Chain, neurons: Mapping[int, Sequence[int]]) -> None:
    """Refuse layers and neurons that the stages do not have."""
    pairs, width = pairs_of(neurons), int(chain.base.bridge.cfg.d_mlp or 0)
    if not pairs:
        raise InputError("no neuron was given; give the numbers of some by layer, such as {3: [17, 40]}.")
    for layer, neuron in pairs:
        if not 0 <= layer < chain.base.n_layers or not 0 <= neuron < width:
            raise InputError(
                f"neuron {neuron} of layer {layer} was asked for and the model has layers 0 to "
                f"{chain.base.n_layers - 1} with neurons 0 to {width - 1}; choose among them."
            )
        for stage in chain.stages:
            mlp_down(stage, layer)


def labelled(
    chain: Chain, prompts: RenderedPrompts, neurons: Mapping[int, Sequence[int]], each: list[dict[str, np.ndarray]]
) -> xr.Dataset:
    """What the stages gave, stacked and labelled."""
    axes = {1: ("unit",), 2: ("prompt", "unit")}
    data = {}
    for name in each[0]:
        dims = ("stage", "prompt") if name in OF_ONE_RUN else ("stage", *axes[each[0][name].ndim])
        data[name] = (dims, np.stack([values[name] for values in each]).astype(np.float32))
    pairs = pairs_of(neurons)
    return xr.Dataset(
        data,
        coords={
            "stage": list(chain.names),
            "unit": np.arange(len(pairs)),
            "layer": ("unit", [layer for layer, _ in pairs]),
            "neuron": ("unit", [neuron for _, neuron in pairs]),
            "text": ("prompt", list(prompts.texts)),
            "template": ("prompt", list(prompts.templates)),
        },
    )


@torch.inference_mode()
def stage_effects(
    stage: Stage,
    ids: Sequence[Sequence[int]],
    residual: Float[torch.Tensor, "prompt d_model"],
    neurons: Mapping[int, Sequence[int]],
    follow: Followed,
    exact_last: bool,
) -> dict[str, np.ndarray]:
    """Effects of one stage over prompt and unit, its clean values over prompt."""
    norm, clean = final_norm(stage), stage.readout.log_probs(residual)
    scale, rows = norm.scale(residual), torch.arange(len(ids))
    before = measured(stage.readout.log_probs, residual, clean, rows, follow)
    found: dict[str, list[np.ndarray]] = {}
    for layer in Progress(neurons, desc=f"{stage.name} neurons", unit="layer"):
        whole = clean_neurons(stage, ids, layer, neurons[layer])
        exact = exact_last and layer == stage.n_layers - 1 and knows_its_output(stage, whole)
        for at in whole.parts(max(1, RUN_BYTES // (16 * residual.numel()))):
            changed = from_final_residual(stage, at, residual) if exact else by_forward_passes(stage, at, ids)
            ablated = effects_of(stage, norm, changed, scale, clean, follow)
            for name, values in (ablated | {"activation": at.at.numpy(), "activation_mean": at.mean.numpy()}).items():
                found.setdefault(name, []).append(values)
    table = {name: np.concatenate(parts, axis=-1) for name, parts in found.items()}
    for name in OF_ONE_RUN:
        own = before[name].numpy()
        table[name] = own
        table |= {f"{name}_{kind}": table[f"{name}_{kind}"] - own[:, None] for kind in ("effect", "direct")}
    return table


def effects_of(
    stage: Stage, norm: Norm, changed: Residuals, scale: torch.Tensor, clean: torch.Tensor, follow: Followed
) -> dict[str, np.ndarray]:
    """The measures of ablated runs over prompt and unit, with the scale free (`_effect`) and frozen (`_direct`)."""
    n_prompts, n_units = changed.shape[:2]
    prompt = torch.arange(n_prompts).repeat_interleave(n_units)
    free = measured(stage.readout.log_probs, changed.flatten(0, 1), clean, prompt, follow)
    frozen = norm.frozen(changed, scale.unsqueeze(1)).flatten(0, 1)
    readout = stage.readout
    direct = measured(lambda rows: readout.finish(readout.product(rows)).log_softmax(-1), frozen, clean, prompt, follow)
    table = {f"{name}_effect": free[name] for name in OF_ONE_RUN} | {
        f"{name}_direct": direct[name] for name in OF_ONE_RUN
    }
    return {
        name: values.reshape(n_prompts, n_units).numpy()
        for name, values in (table | {"kl_to_clean": free["kl_to_recipient"]}).items()
    }
