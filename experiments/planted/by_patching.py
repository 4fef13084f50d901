"""What patches of activations show: small gaps, controls, estimates, neurons, steering; one function a table."""

import numpy as np

import mcinterp
from mcinterp.attribution.screen import attribution_patching
from mcinterp.direction.attractor import At
from mcinterp.effects import effects
from mcinterp.intervene.patching import BOTH
from mcinterp.neurons.comparison import compare_neurons
from mcinterp.neurons.set_effects import set_effects
from mcinterp.statistics import spearman
from planted.tasks import Figures, Planted, mean


def small_gaps(one: Planted) -> Figures:
    """The largest shares of a gap that single cells show, whatever the gap, and the patches' noise floor."""
    patched = mcinterp.patch(one.chain, one.sequences, positions="all", interaction=False)
    effect, ends = (patched[f"attractor_log_odds{end}"] for end in ("", "_donor"))
    effect = effect - patched["attractor_log_odds_recipient"]
    gap = ends - patched["attractor_log_odds_recipient"]
    entropy = patched["entropy"] - patched["entropy_recipient"]
    lost = patched["entropy_donor"] - patched["entropy_recipient"]
    return {
        "gap in log-odds (nats)": mean(abs(gap)),
        "gap in entropy (nats)": mean(abs(lost)),
        "largest share in log-odds of any prompt": float(abs(effect / gap).max()),
        "largest share in entropy of any prompt": float(abs(entropy / lost).max()),
        "the same where the ends differ by 0.1 nats": float(abs(patched["entropy_recovery"]).max()),
        "noise floor (nats)": float(patched.attrs["noise_floor"]),
    }


def controls(one: Planted) -> Figures:
    """Shares of the gap moved at the strongest output, beside a random change as large, in both directions."""
    patched = mcinterp.patch(
        one.chain, one.sequences, sites=("attn_out", "mlp_out"), positions="all", interaction=False
    )
    found, figures = effects(patched, draws=10), {}
    for way in BOTH:
        cells = found.sel(direction=way).stack(cell=["site", "layer"])
        best = cells.isel(cell=int(abs(cells["effect"]).argmax("cell")))
        for name in ("effect", "random", "shuffled"):
            figures[f"{name if name != 'effect' else 'patch'}, {way}"] = float(best[name] / best["gap"])
    return figures


def screen(one: Planted) -> Figures:
    """How estimates of patches compare with the patches, over attention and MLP outputs at all positions."""
    options = {"sites": ("attn_out", "mlp_out"), "positions": "all"}
    exact = mcinterp.patch(
        one.chain, one.sequences, controls=False, interaction=False, metrics=("attractor_log_odds",), **options
    )
    effect = (exact["attractor_log_odds"] - exact["attractor_log_odds_recipient"]).mean("prompt")
    estimate = attribution_patching(one.chain, one.sequences, **options)["estimate"].mean("prompt")
    figures = {}
    for way in BOTH:
        two = [each.sel(direction=way).transpose("site", "layer").values.ravel() for each in (effect, estimate)]
        strongest = int(np.abs(two[0]).argmax())
        figures[f"rank correlation, {way}"] = spearman(*(np.asarray(each, dtype=float) for each in two))
        if two[0][strongest]:
            figures[f"estimate over patch at the strongest cell, {way}"] = float(two[1][strongest] / two[0][strongest])
    return figures


def neurons(one: Planted) -> Figures:
    """Share of the lost entropy that the last layer's entropy neurons carry, beside matched random neurons."""
    compared = compare_neurons(one.chain, one.sequences, kinds=("entropy",), draws=10)
    found = set_effects(compared, "entropy", draws=10).isel(kind=0)
    back = found.sel(direction="base_to_tuned")
    return {
        "overlap of the sets (Jaccard)": float(compared["jaccard"].isel(kind=0, stage=0, other_stage=1)),
        "patched, base_to_tuned": float(back["share"]),
        "random neurons, base_to_tuned": float(back["random_share"]),
    }


def direction(one: Planted) -> Figures:
    """Shares of the log-odds gap by steering behind the planted layer and behind the last one, held-out halves."""
    layers = [int(site.split(".")[0]) for site in one.sites if site[0].isdigit()]
    if len(layers) != 1:
        return {}
    last, figures = one.chain.base.n_layers - 1, {}
    places: tuple[tuple[str, int, At], ...] = (
        ("planted layer", layers[0], "last"),
        ("planted layer, all positions", layers[0], "all"),
        ("last layer", last, "last"),
    )
    for name, layer, at in places:
        found = mcinterp.attractor_direction(one.chain, one.sequences, layer=layer, at=at)
        split = len(set(one.sequences.prompts.templates)) > 1
        steered = mcinterp.steer(
            one.chain, one.sequences, found, coefficients=(1.0,), operations=("add", "replace"), positions=at,
            draws=3, split=split,
        ).isel(coefficient=0, control=0)  # fmt: skip
        gap = steered["attractor_log_odds_donor"] - steered["attractor_log_odds_recipient"]
        moved = (steered["attractor_log_odds"] - steered["attractor_log_odds_recipient"]).mean("prompt")
        share = moved / gap.mean("prompt")
        for operation in ("add", "replace"):
            figures[f"{operation}, {name}"] = float(share.sel(operation=operation))
    return figures
