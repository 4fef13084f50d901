"""A small real dataset of every analysis, made of two shipped checkpoints or three."""

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import xarray as xr

import mcinterp
from mcinterp import effects
from mcinterp.attractors import Search
from mcinterp.behaviour.canned.measuring import canned
from mcinterp.behaviour.contexts.gaps import contexts
from mcinterp.behaviour.contexts.precedent import precedent
from mcinterp.behaviour.contexts.prediction import predict_gap
from mcinterp.behaviour.diversity.measuring import diversity
from mcinterp.behaviour.diversity.settings import Sampling
from mcinterp.behaviour.endings.measuring import endings
from mcinterp.behaviour.endings.places import Branched
from mcinterp.behaviour.multiverse.growing import Growth
from mcinterp.behaviour.multiverse.trees import multiverse
from mcinterp.behaviour.over_optimisation.following import over_optimisation
from mcinterp.behaviour.over_optimisation.rewards import positive_mood
from mcinterp.behaviour.over_optimisation.settings import Following
from mcinterp.behaviour.perturbation.edits import Insert, Perturbing, Swap
from mcinterp.behaviour.perturbation.perturbing import perturbation
from mcinterp.behaviour.planning.patching import patches
from mcinterp.behaviour.planning.probing import probes
from mcinterp.behaviour.planning.settings import Planning
from mcinterp.behaviour.preference.order import preference_order
from mcinterp.behaviour.randomness.draws import randomness
from mcinterp.behaviour.randomness.history import earlier_draws, with_earlier_draws
from mcinterp.behaviour.stages import stage_measures
from mcinterp.behaviour.strings.calibration import calibration
from mcinterp.behaviour.strings.tasks import Reading, strings
from mcinterp.behaviour.temperature_curves.mode import without_mode
from mcinterp.behaviour.temperature_curves.rollouts import Branching, sequence_tempering_test
from mcinterp.behaviour.temperature_curves.scopes import temperature_scopes
from mcinterp.behaviour.temperature_curves.validity import validity_curves
from mcinterp.behaviour.template_effect.design import template_effect, template_keys
from mcinterp.benchmark.gathering import FIGURES
from mcinterp.benchmark.means import by_kind
from mcinterp.chain import Chain
from mcinterp.completions import Decoding
from mcinterp.direction.response import dose_response
from mcinterp.features.autoencoder import SparseAutoencoder
from mcinterp.features.curve import feature_curve
from mcinterp.heads import head_scores
from mcinterp.localisation.activations import by_position
from mcinterp.localisation.evidence import evidence, pair_evidence
from mcinterp.localisation.gate import gate
from mcinterp.localisation.scores import site_scores
from mcinterp.localisation.setting import Setting
from mcinterp.neurons.comparison import compare_neurons
from mcinterp.neurons.effects import neuron_effects
from mcinterp.neurons.mediation import mediated_share
from mcinterp.neurons.set_effects import set_effects
from mcinterp.organisms.pocket import grammar_of
from mcinterp.prompts import Prompts
from mcinterp.results import together, with_provenance
from mcinterp.samples import sample_stages
from mcinterp.sequences import Sequences
from mcinterp.verification.table import verification_table
from mcinterp.verification.verifying import verify

TEXTS = ("Are bugs real?", "User: Are bees real?\n", "Pick a random number from 0 to 100:", ">be me\n")
PROMPTS = Prompts.from_texts(list(TEXTS), template=list("abca"))
SHORT = Decoding(6, 1.0)
KINDS = ("easy", "easy", "hard", "negative")


def spread(name: str, count: int) -> Prompts:
    """Some prompts of a battery, evenly spaced."""
    whole = Prompts.battery(name)
    return whole.select(np.linspace(0, len(whole) - 1, count).astype(int).tolist())


def of_templates(name: str, *templates: str, count: int = 2) -> Prompts:
    """The first prompts of some templates of a battery."""
    whole = Prompts.battery(name)
    chosen = [[i for i, prompt in enumerate(whole.items) if prompt.template == each][:count] for each in templates]
    return whole.select([index for each in chosen for index in each])


class Every:
    """Datasets by the name of their analysis (`made`); what several of them rest on is made once."""

    def __init__(self, pair: Chain, chain: Chain) -> None:
        self.pair, self.chain = pair, chain
        self.rendered, self.later = pair.render(PROMPTS), chain.render(PROMPTS)

    @cached_property
    def lens(self) -> xr.Dataset:
        return mcinterp.logit_lens(self.chain, mcinterp.teacher_force(self.chain, self.later, Decoding(4)))

    @cached_property
    def patched(self) -> xr.Dataset:
        return mcinterp.patch(self.pair, self.rendered)

    @cached_property
    def compared(self) -> xr.Dataset:
        return compare_neurons(self.pair, self.rendered, count=3, draws=2)

    @cached_property
    def ablated(self) -> xr.Dataset:
        return neuron_effects(self.pair, self.rendered, {0: [1], self.pair.base.n_layers - 1: [2, 3]})

    @cached_property
    def direction(self) -> xr.Dataset:
        return mcinterp.attractor_direction(self.pair, self.rendered, layer=2)

    @cached_property
    def steered(self) -> xr.Dataset:
        return mcinterp.steer(self.pair, self.rendered, self.direction, coefficients=(0.0, 0.5, 1.0), draws=2)

    @cached_property
    def autoencoder(self) -> SparseAutoencoder:
        return mcinterp.load_sae("pocket:sae")

    @cached_property
    def along_features(self) -> xr.Dataset:
        return mcinterp.patch_features(self.pair, self.rendered, self.autoencoder, sizes=(0, 1, 2, 4), draws=2)

    @cached_property
    def setting(self) -> Setting:
        return Setting(self.pair, self.rendered_sequences, (0,), None)

    @cached_property
    def rendered_sequences(self) -> Sequences:
        return gate(self.pair, self.rendered, "last").sequences

    @cached_property
    def evidence(self) -> xr.Dataset:
        return evidence(self.setting)

    @cached_property
    def verified(self) -> xr.Dataset:
        few = spread("pocket", 3)
        return verify(
            self.pair, self.rendered_sequences, ["0.mlp", "embed"], random_sets=2, samples=2, new_tokens=4,
            held_out=few, controls=few,
        )  # fmt: skip

    @cached_property
    def benchmarked(self) -> xr.Dataset:
        cells, shape = ("task", "method"), (len(KINDS), 2)
        values = np.linspace(0, 1, len(KINDS) * 2).reshape(shape).astype(np.float32)
        data = dict.fromkeys(FIGURES, (cells, values))
        for name in ("top_1", "share_on_truth", "auroc"):
            data[name] = (cells, np.where(np.asarray(KINDS)[:, None] == "negative", np.nan, values).astype(np.float32))
        data["failed"] = (cells, (values > 0.9).astype(np.float32))
        coords = {"task": list("abcd"), "method": ["one", "two"], "kind": ("task", list(KINDS))}
        coords |= {"plant": ("task", list("abcd")), "half": ("task", ["report"] * len(KINDS))}
        return with_provenance(xr.Dataset(data, coords=coords), analysis="benchmark")

    @cached_property
    def earlier(self) -> xr.Dataset:
        return earlier_draws(self.pair, self.asked, samples=1)

    @property
    def asked(self) -> Prompts:
        return of_templates("randomness-pocket", *self.templates("randomness-pocket", 8), count=1)

    @staticmethod
    def templates(name: str, count: int) -> Sequence[str]:
        """Some templates of a battery, evenly spaced."""
        found = list(dict.fromkeys(prompt.template for prompt in Prompts.battery(name).items))
        return [found[i] for i in np.linspace(0, len(found) - 1, count).astype(int)]

    @cached_property
    def curves(self) -> dict[str, xr.Dataset]:
        few = spread("pocket", 4)
        return {
            "validity_curves": validity_curves(self.pair, few, samples=2, steps=4, temperatures=(0.5, 1.0)),
            "temperature_scopes": temperature_scopes(self.pair, few, steps=4),
            "sequence_tempering": sequence_tempering_test(
                self.pair, few, Branching(prefixes=1, samples=2, horizon=3, reach=3)
            ),
            "without_mode": without_mode(self.pair, few, samples=2, steps=4),
        }

    @cached_property
    def planned(self) -> dict[str, xr.Dataset]:
        few = Planning(samples=1, steps=8, ahead=(1, 2), classes=4, layers=2, matched_on=1)
        prompts = of_templates("planning-pocket", "capital-plain", "capital-qa", "story-title", "story-chat")
        return {
            "planning_probe": probes(self.pair, prompts, few),
            "planning_patch": patches(self.pair, prompts, few),
        }

    @cached_property
    def said(self) -> dict[str, xr.Dataset]:
        few = spread("strings-pocket", 4)
        return {
            "strings": strings(self.pair, few, Reading(samples=2, max_new_tokens=8, shuffles=1)),
            "calibration": calibration(self.pair, few, grammar_of(self.pair.tuned.tokenizer), documents=1),
        }

    @cached_property
    def templated(self) -> dict[str, xr.Dataset]:
        few = spread("template_effect-pocket", 3)
        return {
            "template_effect": template_effect(self.pair, few, Decoding(4, 1.0), samples=2),
            "template_keys": template_keys(self.pair, few),
        }

    @property
    def makers(self) -> dict[str, Callable[[], xr.Dataset]]:
        """How every dataset is made."""
        pair, chain, rendered, later = self.pair, self.chain, self.rendered, self.later
        few = spread("contexts-pocket", 6)
        return {
            "logit_lens": lambda: self.lens,
            "landmark_positions": lambda: mcinterp.landmark_positions(self.lens),
            "onset": lambda: mcinterp.onset(self.lens, draws=20),
            "temperature_split": lambda: mcinterp.temperature_split(chain, later, output_only=True),
            "attention_patterns": lambda: mcinterp.attention_patterns(pair, self.rendered_sequences),
            "head_scores": lambda: head_scores(pair, rendered, length=6, repeats=1),
            "samples": lambda: sample_stages(chain, later, SHORT, samples=2),
            "attractors": lambda: mcinterp.find_attractors(
                chain, chain.render(spread("pocket", 24)), Search(length=6, depth=3, candidates=2)
            ),
            "patch": lambda: self.patched,
            "effects": lambda: effects.effects(self.patched, draws=20),
            "interaction": lambda: effects.interaction(self.patched, draws=20),
            "generate_patched": lambda: mcinterp.generate_patched(
                pair, rendered, sites=("resid_pre", "mlp_out"), layers=[0, 5], decoding=Decoding(3)
            ),
            "attribution_patching": lambda: mcinterp.attribution_patching(pair, rendered, exact=4),
            "direct_logit_attribution": lambda: mcinterp.direct_logit_attribution(pair, rendered, by="component"),
            "entropy_split": lambda: mcinterp.entropy_split(pair, rendered),
            "update_attribution": lambda: mcinterp.update_attribution(pair, rendered),
            "graft_sweep": lambda: mcinterp.graft_sweep(pair, rendered, metrics=("attractor_log_odds",)),
            "graft_shapley": lambda: mcinterp.graft_shapley(pair, rendered, orders=4, by="kind"),
            "interpolate": lambda: mcinterp.interpolate(pair, rendered, alphas=(0.0, 0.5, 1.0)),
            "neuron_statistics": lambda: mcinterp.neuron_statistics(chain, later),
            "neuron_effects": lambda: self.ablated,
            "mediated_share": lambda: mediated_share(self.ablated, draws=20),
            "compare_neurons": lambda: self.compared,
            "set_effects": lambda: set_effects(self.compared, draws=20),
            "attractor_direction": lambda: self.direction,
            "steer": lambda: self.steered,
            "dose_response": lambda: dose_response(self.steered, draws=20),
            "compare_features": lambda: mcinterp.compare_features(pair, rendered, self.autoencoder, skip=1, top=3),
            "patch_features": lambda: self.along_features,
            "feature_curve": lambda: feature_curve(self.along_features, draws=20),
            "gate": lambda: gate(pair, rendered).table,
            "evidence": lambda: self.evidence,
            "site_scores": lambda: site_scores(self.evidence, draws=20),
            "pair_evidence": lambda: pair_evidence(self.setting, ["0.mlp", "0.attn", "embed"]),
            "by_position": lambda: by_position(self.setting, ["0.mlp", "embed"]),
            "verify": lambda: self.verified,
            "verification_table": lambda: verification_table(self.verified, draws=20),
            "benchmark": lambda: self.benchmarked,
            "benchmark_by_kind": lambda: by_kind(self.benchmarked, "report", draws=20),
            "stages": lambda: stage_measures(chain, spread("pocket", 4), SHORT, samples=2),
            "canned": lambda: canned(chain, spread("canned-pocket", 4), SHORT, samples=2),
            "contexts": lambda: together([predict_gap(contexts(chain, few, samples=2))], "contexts"),
            "precedent": lambda: precedent(chain, few, shots=(0, 1)),
            "diversity": lambda: diversity(pair, spread("diversity-pocket", 6), SAMPLING),
            "endings": lambda: endings(
                pair, spread("endings-pocket", 2), Branched(samples=2, kept=(0, 2), length=24, nodes=20)
            ),
            "multiverse": lambda: multiverse(chain, spread("multiverse-pocket", 2), Growth(least=0.05, depth=8)),
            "over_optimisation": lambda: over_optimisation(
                pair, spread("over_optimisation-pocket", 4), FOLLOWING, reward=positive_mood
            ),
            "perturbation": lambda: perturbation(pair, spread("perturbation-pocket", 3), PERTURBING),
            "preference_order": lambda: preference_order(pair, spread("preference-pocket", 3), Decoding(3)),
            "randomness": lambda: with_earlier_draws(randomness(pair, self.asked, draws=5), self.earlier),
            "earlier_draws": lambda: self.earlier,
            "planning": lambda: together(list(self.planned.values()), "planning"),
            "temperature_curves": lambda: together(list(self.curves.values()), "temperature_curves"),
            **{name: lambda name=name: self.planned[name] for name in ("planning_probe", "planning_patch")},
            **{name: lambda name=name: self.curves[name] for name in CURVES},
            **{name: lambda name=name: self.said[name] for name in ("strings", "calibration")},
            **{name: lambda name=name: self.templated[name] for name in ("template_effect", "template_keys")},
        }


CURVES = ("validity_curves", "temperature_scopes", "sequence_tempering", "without_mode")
PERTURBING = Perturbing((Swap(1), Insert(" I am not sure.")), depths=(0.5,), steps=6, samples=1)
FOLLOWING = Following(
    samples=2, max_new_tokens=10, clusters=3, documents=1, behind_tokens=4, permutations=2, ending_tokens=4
)
SAMPLING = Sampling(
    samples=3, max_new_tokens=6, clusters=3, components=2, branching_samples=2, branching_tokens=3, permutations=2,
    top=2,
)  # fmt: skip
