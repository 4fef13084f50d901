"""The words of the page: what every number means, and what every picture shows."""

import inspect
from collections.abc import Iterable

from mcinterp.show.attribution_figures import DRAWN
from mcinterp.show.behaviour.gallery import PICTURES
from mcinterp.variables import VARIABLES

TERMS = {
    "interval": "The 95 % interval of the mean, by bootstrap over groups of prompts (templates), never over tokens.",
    "difference": "The stage minus the base, prompt by prompt, then the mean over prompts; below 0 the stage is surer.",
    "onset": "The first depth from which the entropy gap to the base stays above half its final value.",
    "final_gap": "The entropy of the stage minus that of the base at the output, in nats, where the lens is read.",
    "p_value": "How often swapping the labels base and tuned of whole templates gives a final gap as large.",
    "swapped": "Where the onset lies when labels base and tuned are swapped by chance: an onset inside says little.",
    "effect": "The patched recipient minus the unpatched one, in nats of the metric; the mean over prompts.",
    "share": "The mean effect over the mean gap between the unpatched ends: 0 no effect, 1 reads like the donor.",
    "random": "The effect of a random donor as far from the recipient's activation as the real one.",
    "shuffled": "The effect of the donor's activation on another prompt.",
    "component_share": "The component's part of the sum, the mean over prompts.",
    "score": "Share of the collapse in log-odds: the mean of the path integral of the update and of grafts, both ways.",
    "regained": "Share of the entropy that tuning took which is back under the edit: 1 is all of it.",
    "log_odds_regained": "Share of the change in the attractor's log-odds that is undone under the edit.",
    "kl_to_base": "KL(edited || base) right after the prompt, in nats.",
    "distinct": "Share of different texts among the samples of a prompt.",
    "sample_nll": "Surprise of the edited stage's samples to the base, in nats a token.",
    "control_kl": "KL(tuned || edited) on the control prompts, in nats: what must stay and did not.",
    "kept": "Share of control tokens on which the edited stage still chooses what the tuned one does.",
    "confirmed": "At least 10 % on the half of the templates that was not searched, and above the base's there.",
    "parting": "The first position from the last prompt token on at which the greedy choice is not the base's.",
    "kind": "Openings stand right after the prompt (exact mean probability), phrases anywhere (share of samples).",
}
CAPTIONS = {
    "depth": "The entropy of the next token, read at every point of the residual stream after the prompt; mean over "
    "prompts with 95 % intervals over templates.",
    "position": "Entropy of every stage's own distribution along the completion; mean over prompts with one that long.",
    "patch-effects": "Share of the gap between the unpatched runs that one patched site moves, by layer; dashed: a "
    "random change of the same size.",
    "patch-interaction": "M(tt) − M(bt) − M(tb) + M(bb): the layers below the boundary from the first model, the rest "
    "from the second. Away from zero both parts act together.",
    "held-leaves": "Share of trajectories whose words leave those of the unpatched recipient while the patch is held.",
    "locate-ranking": "Sites by their share of the collapse, with 95 % intervals over templates.",
    "locate-evidence": "What each kind of evidence says of every site; only those marked count.",
    "locate-action": "What undoing a site alone takes away against what bringing it alone adds.",
    "locate-verification": "What is back when the base's weights are put into the named sites, beside random sites.",
    "attribution-logits": "What each component writes of the attractor's logit against its reference.",
    "attribution-update": "The path integral of the metric's change over the update, by component; signed bars sum to "
    "the change.",
    "beside": "Each point is a prompt that both runs hold: the entropy of the last stage minus the base in one run and "
    "in the other.",
}


class Definitions:
    """What terms mean; those that a page asks for are collected, since it explains them at its end."""

    def __init__(self) -> None:
        self.used: dict[str, str] = {}

    def name(self, term: str) -> str:
        """The term's anchor, after noting that it is used."""
        known = VARIABLES.get(term)
        self.used[term] = TERMS[term] if known is None else f"{known.definition} [{known.unit}]"
        return f"def-{term}"


def captions(charts: Iterable[str]) -> dict[str, str]:
    """What each chart shows, by its name on the page."""
    return {name: caption(name.rpartition("/")[2]) for name in charts}


def caption(name: str) -> str:
    """What a chart shows: the page's own words, or those of the function that draws it."""
    known = next((said for start, said in CAPTIONS.items() if name == start or name.startswith(f"{start}-")), None)
    if known is not None:
        return known
    kind, _, what = name.partition("-")
    draw = {"behaviour": PICTURES, "attribution": DRAWN}.get(kind, {}).get(what)
    said = inspect.getdoc(draw) if draw is not None and draw.__name__ != "<lambda>" else None
    return " ".join(said.split()).partition(" Raises")[0].replace("`", "") if said else ""
