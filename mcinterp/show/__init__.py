"""Pictures of results: Altair charts, circuitsvis components, and the report that holds them. No model is needed.

Every dataset of the library has one picture by one call: `show.NAME(dataset)`, NAME being the analysis that made it
(`show.logit_lens`, `show.patch`, `show.graft_sweep`), or `show.picture(dataset)`, which looks it up. The chart is
interactive in a browser (`.save("name.html")`, or in a notebook) and still as `.save("name.svg" | "name.png")`.
"""

from mcinterp.show.attention_figures import attention_patterns, head_scores
from mcinterp.show.attribution_figures import (
    attribution_patching,
    direct_logit_attribution,
    entropy_split,
    graft_shapley,
    temperature_split,
    update_attribution,
)
from mcinterp.show.benchmark_figures import benchmark, benchmark_by_kind
from mcinterp.show.direction_figures import attractor_direction, dose_response, steer
from mcinterp.show.experiment_figures import (
    calibration,
    canned,
    contexts,
    diversity,
    earlier_draws,
    endings,
    multiverse,
    over_optimisation,
    perturbation,
    planning,
    planning_patch,
    planning_probe,
    precedent,
    preference_order,
    randomness,
    sequence_tempering,
    stages,
    strings,
    temperature_curves,
    temperature_scopes,
    template_effect,
    template_keys,
    validity_curves,
    without_mode,
)
from mcinterp.show.feature_figures import compare_features, feature_curve, patch_features
from mcinterp.show.graft_figures import graft_sweep, interpolate
from mcinterp.show.lens_figures import landmark_positions, logit_lens, onset
from mcinterp.show.neuron_figures import compare_neurons, mediated_share, neuron_effects, neuron_statistics, set_effects
from mcinterp.show.patch_figures import effects_of_patches as effects
from mcinterp.show.patch_figures import interaction_of_layers as interaction
from mcinterp.show.patch_figures import patch
from mcinterp.show.pictures import PICTURES, picture
from mcinterp.show.site_figures import (
    by_position,
    evidence,
    gate,
    pair_evidence,
    site_scores,
    verification_table,
    verify,
)
from mcinterp.show.text_figures import attractors, generate_patched, samples

__all__ = [
    "PICTURES",
    "attention_patterns",
    "attractor_direction",
    "attractors",
    "attribution_patching",
    "benchmark",
    "benchmark_by_kind",
    "by_position",
    "calibration",
    "canned",
    "compare_features",
    "compare_neurons",
    "contexts",
    "direct_logit_attribution",
    "diversity",
    "dose_response",
    "earlier_draws",
    "effects",
    "endings",
    "entropy_split",
    "evidence",
    "feature_curve",
    "gate",
    "generate_patched",
    "graft_shapley",
    "graft_sweep",
    "head_scores",
    "interaction",
    "interpolate",
    "landmark_positions",
    "logit_lens",
    "mediated_share",
    "multiverse",
    "neuron_effects",
    "neuron_statistics",
    "onset",
    "over_optimisation",
    "pair_evidence",
    "patch",
    "patch_features",
    "perturbation",
    "picture",
    "planning",
    "planning_patch",
    "planning_probe",
    "precedent",
    "preference_order",
    "randomness",
    "samples",
    "sequence_tempering",
    "set_effects",
    "site_scores",
    "stages",
    "steer",
    "strings",
    "temperature_curves",
    "temperature_scopes",
    "temperature_split",
    "template_effect",
    "template_keys",
    "update_attribution",
    "validity_curves",
    "verification_table",
    "verify",
    "without_mode",
]
