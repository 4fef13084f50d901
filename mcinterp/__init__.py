"""mcinterp: where mode collapse appears between a base language model and its tuned checkpoints.

The names below are loaded when first used, so that importing the package stays light.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mcinterp.attention import attention_patterns as attention_patterns
    from mcinterp.attractors import find_attractors as find_attractors
    from mcinterp.attribution.direct import direct_logit_attribution as direct_logit_attribution
    from mcinterp.attribution.entropy_split import entropy_split as entropy_split
    from mcinterp.attribution.screen import attribution_patching as attribution_patching
    from mcinterp.chain import Chain as Chain
    from mcinterp.chain import Stage as Stage
    from mcinterp.chain import load_chain as load_chain
    from mcinterp.chain import load_pair as load_pair
    from mcinterp.completions import Decoding as Decoding
    from mcinterp.direction.attractor import attractor_direction as attractor_direction
    from mcinterp.direction.steering import steer as steer
    from mcinterp.errors import InputError as InputError
    from mcinterp.features.autoencoder import SparseAutoencoder as SparseAutoencoder
    from mcinterp.features.comparison import compare_features as compare_features
    from mcinterp.features.exporting import export_activations as export_activations
    from mcinterp.features.patching import patch_features as patch_features
    from mcinterp.features.saelens import load_sae as load_sae
    from mcinterp.heads import head_scores as head_scores
    from mcinterp.interop.cache import logit_lens_of_cache as logit_lens_of_cache
    from mcinterp.interop.hooks import patch_hooks as patch_hooks
    from mcinterp.interop.models import chain_from_models as chain_from_models
    from mcinterp.interop.steering import steering_hooks as steering_hooks
    from mcinterp.interop.tensors import tensors as tensors
    from mcinterp.intervene.held import generate_patched as generate_patched
    from mcinterp.intervene.patching import patch as patch
    from mcinterp.jobs.comparison import CompareQuestion as CompareQuestion
    from mcinterp.jobs.comparison import compare as compare
    from mcinterp.landmarks import landmark_positions as landmark_positions
    from mcinterp.landmarks import onset as onset
    from mcinterp.lens import logit_lens as logit_lens
    from mcinterp.localisation.locating import Located as Located
    from mcinterp.localisation.locating import locate as locate
    from mcinterp.neurons.statistics import neuron_statistics as neuron_statistics
    from mcinterp.prompts import Prompts as Prompts
    from mcinterp.sequences import teacher_force as teacher_force
    from mcinterp.temperature import temperature_split as temperature_split
    from mcinterp.tuned_lens import fit_tuned_lens as fit_tuned_lens
    from mcinterp.verification.merging import uncollapse as uncollapse
    from mcinterp.verification.verifying import verify as verify
    from mcinterp.weights.grafts import graft_sweep as graft_sweep
    from mcinterp.weights.grafts import grafted as grafted
    from mcinterp.weights.grafts import interpolate as interpolate
    from mcinterp.weights.shapley import graft_shapley as graft_shapley
    from mcinterp.weights.update import update_attribution as update_attribution

__version__ = "0.1.0"

HOMES = {
    "attention_patterns": "attention",
    "find_attractors": "attractors",
    "Chain": "chain",
    "Stage": "chain",
    "load_chain": "chain",
    "load_pair": "chain",
    "CompareQuestion": "jobs.comparison",
    "compare": "jobs.comparison",
    "Decoding": "completions",
    "InputError": "errors",
    "generate_patched": "intervene.held",
    "patch": "intervene.patching",
    "landmark_positions": "landmarks",
    "onset": "landmarks",
    "logit_lens": "lens",
    "Located": "localisation.locating",
    "locate": "localisation.locating",
    "uncollapse": "verification.merging",
    "verify": "verification.verifying",
    "Prompts": "prompts",
    "teacher_force": "sequences",
    "fit_tuned_lens": "tuned_lens",
    "attribution_patching": "attribution.screen",
    "direct_logit_attribution": "attribution.direct",
    "entropy_split": "attribution.entropy_split",
    "graft_sweep": "weights.grafts",
    "graft_shapley": "weights.shapley",
    "grafted": "weights.grafts",
    "interpolate": "weights.grafts",
    "update_attribution": "weights.update",
    "temperature_split": "temperature",
    "head_scores": "heads",
    "neuron_statistics": "neurons.statistics",
    "SparseAutoencoder": "features.autoencoder",
    "compare_features": "features.comparison",
    "export_activations": "features.exporting",
    "load_sae": "features.saelens",
    "patch_features": "features.patching",
    "attractor_direction": "direction.attractor",
    "steer": "direction.steering",
    "chain_from_models": "interop.models",
    "logit_lens_of_cache": "interop.cache",
    "patch_hooks": "interop.hooks",
    "steering_hooks": "interop.steering",
    "tensors": "interop.tensors",
}


def __getattr__(name: str) -> Any:
    if name in HOMES:
        return getattr(import_module(f"mcinterp.{HOMES[name]}"), name)
    raise AttributeError(f"module 'mcinterp' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*HOMES, "__version__"])
