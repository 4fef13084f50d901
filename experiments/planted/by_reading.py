"""What is read without changing anything: distributions, lenses, heads, attractors; a table of figures a function."""

import torch

import mcinterp
from mcinterp import divergence
from mcinterp.attractors import find_attractors
from mcinterp.diversity.branching import nucleus
from mcinterp.growth import last_residuals
from mcinterp.heads import head_scores
from mcinterp.lens import common_lens, own_lens
from mcinterp.localisation.readable import lens_increments
from mcinterp.tuned_lens import Fit, fit_tuned_lens, own_samples, tuned_lens
from planted.tasks import Figures, Planted, mean


@torch.inference_mode()
def divergences(one: Planted) -> Figures:
    """Changes of the next-token distribution after the prompt, whole and truncated."""
    ids = one.sequences.prompts.token_ids
    p, q = (stage.readout.log_probs(last_residuals(stage, ids)) for stage in one.chain.stages)
    cut = [nucleus(each) for each in (p, q)]
    top = [each.topk(50, dim=-1).values.log_softmax(dim=-1) for each in (p, q)]
    fall = divergence.entropy(p) - divergence.entropy(q)
    return {
        "entropy of the base": mean(divergence.entropy(p)),
        "entropy lost": mean(fall),
        "entropy lost, top-p 0.9 renormalised": mean(divergence.entropy(cut[0]) - divergence.entropy(cut[1])),
        "entropy lost, top 50 renormalised": mean(divergence.entropy(top[0]) - divergence.entropy(top[1])),
        "KL(tuned to base)": mean(divergence.kl_divergence(q, p)),
        "KL(base to tuned)": mean(divergence.kl_divergence(p, q)),
        "Jensen-Shannon": mean(divergence.js_divergence(q, p)),
    }


def temperature(one: Planted) -> Figures:
    """How much of the change one exponent explains, and whether it is a temperature."""
    found = mcinterp.temperature_split(one.chain, one.sequences, output_only=True)
    found = found.sel(site="resid_post", position=0).isel(lens=0, stage=0, layer=-1)
    whole = float(found["kl_stage_to_base"].sum())
    share = float(found["temperature_kl"].sum()) / whole
    tempered = found["temperature_kl"].where(found["is_temperature"] == 1, 0.0)
    return {
        "explained by an exponent a token": share,
        "explained by an exponent above 0": float(tempered.sum()) / whole,
        "tokens with an exponent below 0": mean((found["beta"] < 0).where(found["beta"].notnull())),
        "greedy token shifted": mean(found["shift_class"] == 2),
    }


def readout(one: Planted) -> Figures:
    """Shares of the entropy lost that each part of the readout is given."""
    found = mcinterp.entropy_split(one.chain, one.sequences).mean("prompt").isel(stage=0)
    total = float(found["total"])
    return {name: float(found["shapley"].sel(player=name)) / total for name in found["player"].values.tolist()}


def heads(one: Planted) -> Figures:
    """Rank of the true head among all heads by what changed in its scores; 1 is the best."""
    if one.kind != "head":
        return {}
    found = head_scores(one.chain, one.sequences)
    changes = {
        "distance of attention after the prompt": found["attention_distance"].isel(stage=1).mean("prompt"),
        "distance of attention, all tokens": found["attention_distance_mean"].isel(stage=1).mean("prompt"),
    }
    for name in ("copying_score", "induction_score", "previous_token_score"):
        changes[f"change of the {name.replace('_', ' ')}"] = abs(found[name].isel(stage=1) - found[name].isel(stage=0))
    layer, head = (int(part) for part in one.task.truth[0].split(".")[::2])
    return {name: float((v > v.sel(layer=layer, head=head)).sum()) + 1 for name, v in changes.items()}


def attractors(one: Planted) -> Figures:
    """How many candidates are confirmed, and whether the first of them is a planted favourite."""
    found = find_attractors(one.chain, one.sequences.prompts).isel(stage=1)
    confirmed = found["text"].values[found["confirmed"].values == 1].tolist()
    named = any(favourite.strip() in text for favourite in one.task.favourites for text in confirmed)
    return {"confirmed attractors": float(len(confirmed)), "one holds a favourite": float(named)}


def lenses(one: Planted) -> Figures:
    """Whether the growth of the gap under each lens is largest at the true site."""
    if one.kind not in ("easy", "relay", "upstream"):
        return {}
    fit = Fit(sample_tokens=24, steps=100, rows=128)
    context = one.chain.alignment.context
    fitted = [
        fit_tuned_lens(stage, own_samples(stage, one.sequences.prompts, context, fit), fit)
        for stage in one.chain.stages
    ]
    listed = [own_lens(one.chain), common_lens(one.chain), tuned_lens(one.chain, fitted)]
    read = mcinterp.logit_lens(one.chain, one.sequences, lenses=listed, positions="last")
    figures = {f"KL(final to {name} lens), mean over depth": mean(read["kl_final_to_lens"].sel(lens=name))
               for name in ("own", "tuned")}  # fmt: skip
    for lens in listed:
        steps = {name: mean(values) for name, values in lens_increments(read, lens.name).items()}
        rest = max(value for name, value in steps.items() if name not in one.sites)
        figures[f"top-1, {lens.name} lens"] = float(steps[one.sites[0]] > rest)
        figures[f"share of the gap at the embedding, {lens.name} lens"] = steps["embed"] / sum(steps.values())
    return figures
