"""What every variable of a result means: its unit and its definition."""

from typing import NamedTuple


class Variable(NamedTuple):
    """The unit of a variable and its definition."""

    unit: str
    definition: str


VARIABLES: dict[str, Variable] = {
    "entropy": Variable("nats", "Shannon entropy of the next-token distribution, -sum q log q"),
    "effective_choices": Variable("tokens", "exp(entropy): equally likely tokens with the same entropy"),
    "min_entropy": Variable("nats", "surprise of the most likely token, -log max q"),
    "attractor": Variable(
        "token id",
        "the followed token: the most likely one of the last stage (of a patch, the later stage), or a named one",
    ),
    "attractor_log_prob": Variable("nats", "log q(attractor)"),
    "attractor_probability": Variable("probability", "q(attractor)"),
    "attractor_log_odds": Variable(
        "nats", "log q(attractor) - log q(smallest set of other tokens with 90 % of base's remaining mass)"
    ),
    "attractor_rank": Variable("rank", "rank of the attractor under q; 1 is the most likely token"),
    "next_log_prob": Variable("nats", "log q of the token that follows in the sequence"),
    "kl_final_to_lens": Variable("nats", "KL(the stage's own final distribution || its reading at this layer)"),
    "kl_stage_to_base": Variable("nats", "KL(stage || base) of the two readings at the same layer"),
    "kl_base_to_stage": Variable("nats", "KL(base || stage) of the two readings at the same layer"),
    "js_stage_base": Variable("nats", "Jensen-Shannon divergence between stage and base at the same layer"),
    "kl_to_donor": Variable("nats", "KL(patched run || unpatched donor run)"),
    "kl_to_recipient": Variable("nats", "KL(patched run || unpatched recipient run)"),
    "donor_log_prob": Variable("nats", "log-probability of the written token under the donor, on the same tokens"),
    "left_at": Variable("step", "the first step at which the written token is not the unpatched recipient's"),
    "completion": Variable("text", "what was written"),
    "top_token": Variable("token id", "the most likely tokens, best first"),
    "top_probability": Variable("probability", "their probabilities"),
    "token_id": Variable("token id", "the token at this position"),
    "token": Variable("text", "the token at this position, as text"),
    "widest_position": Variable("position", "from the last prompt token on, where the entropy gap is most negative"),
    "widest_gap": Variable("nats", "entropy there, stage minus base"),
    "parting_position": Variable("position", "the first position where the greedy choices of stage and base differ"),
    "parting_token": Variable("token id", "the stage's greedy choice there; -1 where they never part"),
    "parting_token_base": Variable("token id", "the base's greedy choice there; -1 where they never part"),
    "gap": Variable("nats", "entropy minus the base's, mean over prompts"),
    "gap_low": Variable("nats", "lower end of its 95 % interval over templates"),
    "gap_high": Variable("nats", "upper end of its 95 % interval over templates"),
    "p_value": Variable("probability", "how often swapped labels of whole templates give a mean gap as large"),
    "onset": Variable("index into depth", "the first depth from which the gap stays above half its final value"),
    "onset_low": Variable("index into depth", "lower end of its 95 % interval over templates"),
    "onset_high": Variable("index into depth", "upper end of its 95 % interval over templates"),
    "onset_null_low": Variable("index into depth", "lower end of the central 95 % of onsets under swapped labels"),
    "onset_null_high": Variable("index into depth", "upper end of the central 95 % of onsets under swapped labels"),
    "probability": Variable(
        "probability", "mean over held-out prompts: exact for openings, share of samples for phrases"
    ),
    "probability_low": Variable("probability", "lower end of its 95 % interval over templates"),
    "probability_high": Variable("probability", "upper end of its 95 % interval over templates"),
    "difference": Variable("probability", "stage minus base"),
    "difference_low": Variable("probability", "lower end of its 95 % interval over templates"),
    "difference_high": Variable("probability", "upper end of its 95 % interval over templates"),
    "share_captured": Variable("share of prompts", "held-out prompts that give it more than half their probability"),
    "confirmed": Variable("0 or 1", "mean probability high enough, and the interval of the difference above 0"),
    "n_tokens": Variable("tokens", "number of tokens"),
    "attention": Variable("probability", "attention from query to key"),
}


FORMS: dict[str, Variable] = {
    "_control": Variable("", "the same for patches by a control donor"),
    "_donor": Variable("", "the same for the unpatched donor run"),
    "_recipient": Variable("", "the same for the unpatched recipient run"),
    "_recovery": Variable("share", "(patched - recipient) / (donor - recipient); 1 reads like the donor"),
    "_recovery_missing": Variable("text", "why the recovery is missing; empty where it is not"),
    "_interaction": Variable(
        "", "M(tt) - M(bt) - M(tb) + M(bb), layers below the boundary from the first stage, the rest from the second"
    ),
}


def variable(name: str) -> Variable | None:
    """The unit and definition of a variable, also of one derived from a metric (`entropy_recovery`)."""
    if name in VARIABLES:
        return VARIABLES[name]
    for form, (unit, definition) in FORMS.items():
        metric = VARIABLES.get(name.removesuffix(form))
        if name.endswith(form) and metric is not None:
            return Variable(unit or metric.unit, f"{metric.definition}: {definition}")
    return None
