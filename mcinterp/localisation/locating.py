"""`locate`: where a tuned checkpoint's collapse is, in one call: the gate, the evidence, one ranking, and a verdict."""

from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from mcinterp.chain import Chain
from mcinterp.errors import InputError
from mcinterp.intervene.inputs import require_token
from mcinterp.localisation.activations import by_position
from mcinterp.localisation.evidence import AT_ANSWER, evidence, pair_evidence
from mcinterp.localisation.gate import OPENED, Gate, gate
from mcinterp.localisation.scores import site_scores
from mcinterp.localisation.setting import Setting
from mcinterp.localisation.thresholds import Thresholds
from mcinterp.localisation.verdict import NONE, Verdict, support, table_of, verdict
from mcinterp.localisation.words import said_of
from mcinterp.rendering import RenderedPrompts
from mcinterp.sequences import PromptsGiven, rendered_prompts
from mcinterp.verification.verifying import verify
from mcinterp.weights.groups import groups_of

SPLIT, EVERY, LEAST_TEMPLATES = "split", 4, 8


@dataclass(frozen=True)
class Located:
    """The answer and everything it rests on.

    `verdict` is one of none, localised, redundant, joint, distributed; `named` are the sites it names, best first;
    `support` says by verdict in which share of resampled templates it comes out. `upstream`: whether the named sites
    act mostly before the positions that are read. `sites` is over components, best first (see `site_scores`), `heads`
    the same over attention heads and `positions` the named sites position by position, where asked. `verification` is
    what `mcinterp.verification` measured; None where there is nothing to verify.
    """

    verdict: str
    named: tuple[str, ...]
    upstream: bool
    interaction: float
    support: dict[str, float]
    said: str
    gate: Gate
    sites: xr.Dataset | None = None
    evidence: xr.Dataset | None = None
    pairs: xr.Dataset | None = None
    heads: xr.Dataset | None = None
    positions: xr.Dataset | None = None
    verification: xr.Dataset | None = None


def locate(
    chain: Chain,
    prompts: PromptsGiven,
    *,
    at: str = "auto",
    heads: bool = False,
    positions: bool = False,
    attractor: int | None = None,
    held_out: PromptsGiven | str | None = SPLIT,
    controls: PromptsGiven | None = None,
    verification: bool = True,
    limits: Thresholds = Thresholds(),
    seed: int = 0,
) -> Located:
    """Say where the collapse from the first to the last stage of a chain is, and verify it by intervention.

    Args:
        chain: A pair or chain of checkpoints; of a chain, base and last stage are compared.
        prompts: Texts, prompts or rendered prompts.
        at: Where it is read: `last`, `divergence`, `sequence`, or `auto`; see `mcinterp.localisation.gate.gate`.
        heads: Also score every attention head.
        positions: Also patch the named sites at one position at a time.
        attractor: The followed token id; by default each prompt's most likely token of the last stage.
        held_out: Prompts on which the verification is repeated; `split` sets every fourth template aside for it where
            there are at least 8, None verifies on the locating prompts only.
        controls: Prompts whose behaviour tuning must keep; what undoing the collapse costs is measured on them. By
            default those of the pocket battery for pocket checkpoints, else none; an empty list for none.
        verification: Whether to verify at all; where verifying is impossible, `said` holds why.
        limits: The numbers by which it is decided.
        seed: Fixes bootstrap and samples.

    Raises:
        InputError: For an unknown place or token, prompts that do not fit, or heads that have no matrices of their own.
    """
    chain.require_two()
    pair, rendered = ends_of_chain(chain), rendered_prompts(chain, prompts)
    require_token(pair, attractor)
    groups_of(pair.base, "head" if heads else "component")
    kept, aside = split(rendered) if held_out == SPLIT else (rendered, None)
    aside = rendered_prompts(chain, held_out) if held_out is not None and not isinstance(held_out, str) else aside
    passed = gate(pair, kept, at, limits)
    if not passed.passed:
        return Located(NONE, (), False, 0.0, {}, said_of(Verdict(NONE, (), 0.0), passed.figures, None, False), passed)
    one = Setting(pair, passed.sequences, passed.reads, attractor)
    found = located_in(one, passed, limits, seed)
    found = replace(found, heads=site_scores(evidence(one, "head"), seed=seed)) if heads else found
    found = replace(found, positions=by_position(one, found.named)) if positions else found
    if not verification:
        return found
    others = None if aside is None else OPENED[passed.at](pair, aside, limits).sequences
    ranked = [] if found.sites is None else found.sites["component"].values.tolist()
    options = {"most_sites": limits.most_sites, "regain": limits.regain, "seed": seed, "controls": controls}
    try:
        checked = verify(pair, one.sequences, ranked, held_out=others, reads=one.reads, attractor=attractor, **options)
    except InputError as error:
        return replace(found, said=f"{found.said} Not verified: {error}")
    return replace(found, verification=checked)


def located_in(one: Setting, passed: Gate, limits: Thresholds, seed: int) -> Located:
    """Evidence, ranking and verdict of a collapse that is there."""
    found = evidence(one)
    scores = site_scores(found, seed=seed)
    ranked = [str(name) for name in scores["component"].values]
    pairs = pair_evidence(one, ranked[: limits.candidates])
    table, shares = table_of(found, pairs), dict(zip(ranked, scores["score"].values.tolist(), strict=True))
    answer = verdict(table, shares, limits)
    upstream = acts_upstream(scores, answer.sites)
    return Located(
        verdict=answer.name,
        named=answer.sites,
        upstream=upstream,
        interaction=answer.interaction,
        support=support(table, shares, found["template"].values.tolist(), limits, seed=seed),
        said=said_of(answer, passed.figures, scores, upstream),
        gate=passed,
        sites=scores,
        evidence=found,
        pairs=pairs,
    )


def acts_upstream(scores: xr.Dataset, sites: tuple[str, ...]) -> bool:
    """Whether patches of some sites at the read positions alone do less than half of what they do at all positions."""
    named = scores.sel(component=[site for site in sites if site in scores["component"].values])
    there = [f"patch_{kind.removeprefix('answer_')}" for kind in AT_ANSWER]
    alone, everywhere = (float(sum(named[f"{kind}_share"].sum() for kind in kinds)) for kinds in (AT_ANSWER, there))
    return bool(everywhere > 0 and alone < everywhere / 2)


def ends_of_chain(chain: Chain, earlier: int = 0, later: int = -1) -> Chain:
    """Two stages of a chain as a pair."""
    return Chain((chain.stages[earlier], chain.stages[later]), chain.alignment)


def split(rendered: RenderedPrompts) -> tuple[RenderedPrompts, RenderedPrompts | None]:
    """Prompts to locate with, and those of every fourth template kept aside; None of too few templates."""
    templates = list(dict.fromkeys(rendered.templates))
    if len(templates) < LEAST_TEMPLATES:
        return rendered, None
    aside = set(templates[EVERY - 1 :: EVERY])
    rows = np.asarray([template in aside for template in rendered.templates])
    return rendered.select(np.flatnonzero(~rows).tolist()), rendered.select(np.flatnonzero(rows).tolist())
