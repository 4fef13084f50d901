"""Every dataset of the library with its one natural picture, by the name of the analysis that made it."""

from collections.abc import Callable
from typing import Any

import xarray as xr

from mcinterp.errors import InputError
from mcinterp.results import provenance_of
from mcinterp.show import (
    attention_figures,
    attribution_figures,
    benchmark_figures,
    direction_figures,
    experiment_figures,
    feature_figures,
    graft_figures,
    lens_figures,
    neuron_figures,
    patch_figures,
    site_figures,
    text_figures,
)

Draw = Callable[[xr.Dataset], Any]
PICTURES: dict[str, Draw] = {
    "logit_lens": lens_figures.logit_lens,
    "landmark_positions": lens_figures.landmark_positions,
    "onset": lens_figures.onset,
    "temperature_split": attribution_figures.temperature_split,
    "attention_patterns": attention_figures.attention_patterns,
    "head_scores": attention_figures.head_scores,
    "samples": text_figures.samples,
    "attractors": text_figures.attractors,
    "patch": patch_figures.patch,
    "effects": patch_figures.effects_of_patches,
    "interaction": patch_figures.interaction_of_layers,
    "generate_patched": text_figures.generate_patched,
    "attribution_patching": attribution_figures.attribution_patching,
    "direct_logit_attribution": attribution_figures.direct_logit_attribution,
    "entropy_split": attribution_figures.entropy_split,
    "update_attribution": attribution_figures.update_attribution,
    "graft_sweep": graft_figures.graft_sweep,
    "graft_shapley": attribution_figures.graft_shapley,
    "interpolate": graft_figures.interpolate,
    "neuron_statistics": neuron_figures.neuron_statistics,
    "neuron_effects": neuron_figures.neuron_effects,
    "mediated_share": neuron_figures.mediated_share,
    "compare_neurons": neuron_figures.compare_neurons,
    "set_effects": neuron_figures.set_effects,
    "attractor_direction": direction_figures.attractor_direction,
    "steer": direction_figures.steer,
    "dose_response": direction_figures.dose_response,
    "compare_features": feature_figures.compare_features,
    "patch_features": feature_figures.patch_features,
    "feature_curve": feature_figures.feature_curve,
    "gate": site_figures.gate,
    "evidence": site_figures.evidence,
    "site_scores": site_figures.site_scores,
    "pair_evidence": site_figures.pair_evidence,
    "by_position": site_figures.by_position,
    "verify": site_figures.verify,
    "verification_table": site_figures.verification_table,
    "benchmark": benchmark_figures.benchmark,
    "benchmark_by_kind": benchmark_figures.benchmark_by_kind,
    **{name: getattr(experiment_figures, name) for name in experiment_figures.__all__},
}


def picture(dataset: xr.Dataset) -> Any:
    """The natural picture of a dataset, chosen by the analysis that made it; an Altair chart.

    `chart.save("name.html" | "name.svg" | "name.png")`: SVG and PNG need neither browser nor network.
    Raises `InputError` for a dataset that says of no known analysis that it was made by it.
    """
    analysis = provenance_of(dataset).get("analysis")
    if analysis not in PICTURES:
        given = "without an analysis in its provenance" if analysis is None else f"of the analysis {analysis!r}"
        raise InputError(
            f"got a dataset {given}, and a picture wants one of {', '.join(sorted(PICTURES))}; give the dataset as a "
            f"function of mcinterp returned or saved it, or call the function of mcinterp.show that fits it."
        )
    return PICTURES[analysis](dataset)
