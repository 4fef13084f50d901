"""Measures, on the planted checkpoints, what the methods outside the benchmark of localisation say and where they fail.

    mcinterp bench localise --half both              (plants and answers, into runs/bench)
    python docs/explanation/measured.py runs/bench

Every figure is taken task by task and averaged over the tasks of a kind of plant; `measured.json` beside this file
holds the means, from which the tables of the pages are made, and what each method of the benchmark missed. About half
an hour on one core.
"""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr

import mcinterp
from mcinterp import divergence
from mcinterp.attractors import find_attractors
from mcinterp.attribution.screen import attribution_patching
from mcinterp.benchmark.means import KINDS
from mcinterp.direction.attractor import At
from mcinterp.diversity.branching import nucleus
from mcinterp.effects import effects
from mcinterp.growth import last_residuals
from mcinterp.heads import head_scores
from mcinterp.intervene.inputs import as_sequences
from mcinterp.lens import common_lens, own_lens
from mcinterp.localisation.readable import lens_increments
from mcinterp.neurons.comparison import compare_neurons
from mcinterp.neurons.set_effects import set_effects
from mcinterp.organisms.plants.record import Task, read_plants
from mcinterp.results import load
from mcinterp.sequences import Sequences
from mcinterp.statistics import spearman
from mcinterp.tuned_lens import Fit, fit_tuned_lens, own_samples, tuned_lens

HALF, BOTH = "report", ("base_to_tuned", "tuned_to_base")
Figures = dict[str, float]


class Planted(NamedTuple):
    """One task: its pair, its prompts, what is true of it."""

    chain: mcinterp.Chain
    sequences: Sequences
    task: Task
    kind: str

    @property
    def sites(self) -> list[str]:
        """The true components (the attention of a true head)."""
        return [".".join(name.split(".")[:2]) for name in self.task.truth]


def tasks(root: Path) -> Iterator[Planted]:
    """Every task of the half, its pair loaded once a plant."""
    for plant in read_plants(root, HALF):
        chain = mcinterp.load_pair(*plant.specs(root))
        for task in plant.tasks:
            prompts = mcinterp.Prompts.from_file(plant.prompt_file(root, task))
            yield Planted(chain, as_sequences(chain, prompts), task, plant.kind)


def mean(values: xr.DataArray | np.ndarray | torch.Tensor) -> float:
    """The mean of what is there."""
    return float(np.nanmean(np.asarray(values, dtype=float)))


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


def verified(one: Planted) -> Figures:
    """What base weights in the true sites give back and cost, beside random sites and a temperature."""
    if not one.task.truth:
        return {}
    found = mcinterp.verify(one.chain, one.sequences, one.sites, regain=1.0, samples=4, random_sets=8)
    chosen = found.sel(edit=f"{len(one.sites)} site{'s' if len(one.sites) > 1 else ''}")
    entropy, kinds = found["entropy"].mean("prompt"), found["kind"]
    tuned, lost = float(entropy.sel(edit="tuned")), found.attrs["lost_entropy"]
    figures = {
        "entropy back, true sites": (float(chosen["entropy"].mean()) - tuned) / lost,
        "KL to the base, true sites (nats)": mean(chosen["kl_to_base"]),
        "KL on the controls, true sites (nats)": cost(chosen),
    }
    for kind in ("random", "temperature"):
        rows = found.isel(edit=np.flatnonzero(kinds.values == kind))
        if rows.sizes["edit"]:
            figures[f"entropy back, {kind}"] = (mean(rows["entropy"]) - tuned) / lost
            figures[f"KL to the base, {kind} (nats)"] = mean(rows["kl_to_base"])
            figures[f"KL on the controls, {kind} (nats)"] = cost(rows)
    return figures


def cost(rows: xr.Dataset) -> float:
    """KL to the tuned stage on the controls, where there are some."""
    return mean(rows["control_kl"]) if "control_kl" in rows else float("nan")


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


def attractors(one: Planted) -> Figures:
    """How many candidates are confirmed, and whether the first of them is a planted favourite."""
    found = find_attractors(one.chain, one.sequences.prompts).isel(stage=1)
    confirmed = found["text"].values[found["confirmed"].values == 1].tolist()
    named = any(favourite.strip() in text for favourite in one.task.favourites for text in confirmed)
    return {"confirmed attractors": float(len(confirmed)), "one holds a favourite": float(named)}


def update(one: Planted) -> Figures:
    """How far from complete the path integral is, and what the true components have of the change."""
    found = mcinterp.update_attribution(one.chain, one.sequences, beyond="missing").isel(stage=0)
    share = found["attribution"].mean("prompt") / found["total"].mean("prompt")
    shapley = mcinterp.graft_shapley(one.chain, one.sequences, orders=4)["shapley"].mean("prompt")
    figures = {"largest completeness error": float(found["completeness_error"].max())}
    figures["most nodes"] = float(found["nodes"].max())
    figures["largest difference from Shapley values (share)"] = float(
        abs(share - shapley / found["total"].mean("prompt")).max()
    )
    for name in one.sites[:1]:
        figures["share of each true component"] = mean(share.sel(component=one.sites)) if name else 0.0
    return figures


TABLES: dict[str, Callable[[Planted], Figures]] = {
    each.__name__: each
    for each in (
        divergences, temperature, readout, small_gaps, controls, screen, neurons, heads, direction, verified,
        attractors, update, lenses,
    )
}  # fmt: skip


def gathered(found: dict[str, dict[str, list[Figures]]]) -> dict[str, dict[str, dict[str, float]]]:
    """Means over tasks: table, row, kind; `all` are the tasks of all kinds."""
    tables: dict[str, dict[str, dict[str, float]]] = {}
    for table, kinds in found.items():
        listed = {**kinds, "all": [each for tasks_of_kind in kinds.values() for each in tasks_of_kind]}
        rows = list(dict.fromkeys(row for each in listed["all"] for row in each))
        tables[table] = {row: means_of(row, listed) for row in rows}
    return tables


def means_of(row: str, listed: dict[str, list[Figures]]) -> dict[str, float]:
    """The mean of one figure over the tasks of every kind that have it."""
    there = {kind: [each[row] for each in listed.get(kind, []) if row in each] for kind in (*KINDS, "all")}
    finite = {kind: [value for value in values if np.isfinite(value)] for kind, values in there.items()}
    return {kind: float(np.mean(values)) for kind, values in finite.items() if values}


def missed(bench: Path) -> dict[str, dict[str, str]]:
    """By method and kind, the true components of the tasks that it did not find."""
    found = load(bench / "benchmark.nc")
    found = found.isel(task=np.flatnonzero((found["half"] == HALF) & (found["kind"] != "negative")))
    table: dict[str, dict[str, list[str]]] = {}
    for name in found["method"].values.tolist():
        lost = found.isel(task=np.flatnonzero(found["top_1"].sel({"method": name}).values == 0))
        for kind, truth in zip(lost["kind"].values.tolist(), lost["truth"].values.tolist(), strict=True):
            table.setdefault(name, {}).setdefault(kind, []).append(truth.replace(",", "+"))
    return {name: {kind: ",".join(sorted(each)) for kind, each in kinds.items()} for name, kinds in table.items()}


def main(bench: Path) -> None:
    """Measure every table on every task and write the means."""
    found: dict[str, dict[str, list[Figures]]] = {name: {} for name in TABLES}
    count: dict[str, int] = {}
    for one in tasks(bench / "plants"):
        count[one.kind] = count.get(one.kind, 0) + 1
        for name, table in TABLES.items():
            found[name].setdefault(one.kind, []).append(table(one))
        print(one.kind, one.task.name, flush=True)
    record = {
        "command": "python docs/explanation/measured.py",
        "half": HALF,
        "tasks": count,
        **gathered(found),
        "missed": missed(bench),
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
