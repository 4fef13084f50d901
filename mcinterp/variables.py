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
    "kl_to_base": Variable("nats", "KL(distribution || the earlier stage's own)"),
    "kl_to_tuned": Variable("nats", "KL(distribution || the later stage's own)"),
    "attribution": Variable("nats", "a part's share of the total"),
    "output_changed": Variable("nats", "the half of a part's change that its own write into the stream made"),
    "readout_changed": Variable("nats", "the half of a part's change that the direction it is read in made"),
    "estimate": Variable("nats", "(a_donor - a_recipient) * dM/da at the recipient: the expected effect of a patch"),
    "exact": Variable("nats", "the effect of the patch itself; missing where it was not run"),
    "rank_correlation": Variable("correlation", "Spearman's between estimate and exact over the cells that were run"),
    "nodes": Variable("count", "Gauss-Legendre nodes of the path integral"),
    "entropy_base": Variable("nats", "entropy of the base's next-token distribution"),
    "entropy_tuned": Variable("nats", "entropy of the tuned stage's next-token distribution"),
    "kl_tuned_to_base": Variable("nats", "KL(tuned || base) on the same tokens"),
    "fall": Variable("nats", "entropy that is lost where the prompt is read, base minus tuned"),
    "rise": Variable("nats", "what the same search finds with the stages swapped; 0 where nothing was searched for"),
    "collapsed": Variable("0 or 1", "tuned diverges from the base and has lost entropy"),
    "strong": Variable("0 or 1", "collapsed, and half the entropy is lost"),
    "risen": Variable("0 or 1", "the opposite of strong, with the stages swapped"),
    "formatting": Variable("0 or 1", "tuned's most likely token is white space"),
    "update": Variable("nats", "attribution of the fine-tuning update, a path integral over the weights"),
    "graft_necessity": Variable("nats", "log-odds that the base's weights take away from the tuned stage"),
    "graft_sufficiency": Variable("nats", "log-odds that the tuned stage's weights bring to the base"),
    "patch_necessity": Variable("nats", "log-odds that the base's output at all positions takes away"),
    "patch_sufficiency": Variable("nats", "log-odds that the tuned stage's output at all positions brings"),
    "random_necessity": Variable("nats", "the same for a random change of equal size"),
    "random_sufficiency": Variable("nats", "the same for a random change of equal size"),
    "lens_own": Variable("nats", "growth across it of the gap (tuned minus base) read by each stage's own lens"),
    "lens_common": Variable("nats", "growth across it of the gap (tuned minus base) read by the base's lens"),
    "answer_necessity": Variable("nats", "log-odds that the base's output at the read positions takes away"),
    "answer_sufficiency": Variable("nats", "log-odds that the tuned stage's output at the read positions brings"),
    "written": Variable("nats", "direct logit attribution, tuned minus base: where it is readable, not where it is"),
    "graft_entropy": Variable("nats", "entropy that the base's weights bring back to the tuned stage"),
    "log_odds_gap": Variable("nats", "log-odds of the attractor, tuned minus base"),
    "entropy_gap": Variable("nats", "entropy, tuned minus base"),
    "necessity": Variable("nats", "log-odds that the base's weights of both components take away"),
    "sufficiency": Variable("nats", "log-odds that the tuned stage's weights of both components bring"),
    "score": Variable("share", "share of the collapse in log-odds, the mean of what kinds of evidence say"),
    "ci_low": Variable("share", "lower end of its 95 % interval over templates"),
    "ci_high": Variable("share", "upper end of its 95 % interval over templates"),
    "written_log_prob": Variable("nats", "log-probability of a sampled token under the stage that wrote it"),
    "written_entropy": Variable("nats", "entropy of the distribution that a sampled token came from"),
    "base_log_prob": Variable("nats", "log-probability of a sampled token under the base"),
    "ended": Variable("0 or 1", "an end token was written before the steps ran out"),
    "shapley_error": Variable("nats", "its standard error over sampled pairs of orders"),
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
    "output_norm": Variable("", "length of what a unit of a neuron's activation adds to the residual stream, |w|"),
    "logit_variance": Variable("", "LogitVar: variance over tokens of cos(w, token's row of the folded unembedding)"),
    "null_fraction": Variable("share", "rho: length of w in the unembedding's least read directions over |w|"),
    "frequency_alignment": Variable("cosine", "between what a neuron does to all logits and the log-unigram"),
    "unembedding_singular_value": Variable("", "singular values of the folded, centred unembedding, largest first"),
    "activation": Variable(
        "", "activation of the neuron at the read token; a mean over prompts where it has no prompts"
    ),
    "activation_mean": Variable("", "its mean over all tokens of the prompts"),
    "activation_change": Variable("", "mean activation minus the first stage's"),
    "activation_change_low": Variable("", "lower end of its 95 % interval over templates"),
    "activation_change_high": Variable("", "upper end of its 95 % interval over templates"),
    "kl_to_clean": Variable("nats", "KL(changed run || unchanged run) of the same stage"),
    "mediated_share": Variable(
        "share", "1 - mean |direct effect| / mean |total effect|: through the final norm's scale"
    ),
    "jaccard": Variable("share", "neurons in both stages' sets over neurons in either"),
    "jaccard_by_chance": Variable("share", "its mean for two random sets of that size"),
    "in_set": Variable("0 or 1", "whether the neuron belongs to the stage's own set"),
    "norm_ratio": Variable("ratio", "mean w_out norm of the set over that of the set asked for (draw 0)"),
    "random_above": Variable(
        "share", "entries with an effect at least as large, the random ones and the asked one counted"
    ),
    "induction_score": Variable("probability", "attention to the token behind the first occurrence of this one"),
    "previous_token_score": Variable("probability", "attention to the token before"),
    "duplicate_token_score": Variable("probability", "attention to the first occurrence of this token"),
    "copying_score": Variable("", "sum of eigenvalues of W_E W_V W_O W_U over the sum of their sizes; 1 copies"),
    "attention_entropy": Variable("nats", "entropy of the attention from the last prompt token"),
    "attention_entropy_mean": Variable("nats", "mean entropy of the attention from all prompt tokens"),
    "attention_distance": Variable("", "total variation of it from the base's at the last prompt token"),
    "attention_distance_mean": Variable("", "its mean over all prompt tokens"),
    "residual_recipient": Variable("", "residual of the stage that a direction starts from"),
    "residual_donor": Variable("", "residual of the stage that a direction leads to"),
    "direction_vector": Variable("", "mean over prompts of residual_donor - residual_recipient"),
    "direction_norm": Variable("", "its length"),
    "cosine_to_readout": Variable("cosine", "between it and the donor stage's centred readout of the attractor"),
    "cosine_to_direction": Variable("cosine", "between the prompt's own difference and the mean over other prompts"),
    "n_tokens": Variable("tokens", "number of tokens"),
    "attention": Variable("probability", "attention from query to key"),
    "temperature_kl": Variable("nats", "KL(p_beta || base), p_beta ∝ base^beta: the part that a temperature explains"),
    "frequency_kl": Variable("nats", "the further part that p ∝ base^beta frequency^gamma explains"),
    "reordering_kl": Variable("nats", "KL(stage || that p): what neither temperature nor token frequency explains"),
    "temperature_share": Variable(
        "share", "temperature_kl / kl_stage_to_base; missing where KL is below 1e-6; no temperature unless beta > 0"
    ),
    "is_temperature": Variable("0 or 1", "beta > 0; missing where kl_stage_to_base is below 1e-6"),
    "beta": Variable("exponent", "the beta of base^beta nearest to the stage, 1 / temperature; below 0 is none"),
    "beta_with_frequency": Variable("exponent", "the beta of base^beta frequency^gamma nearest to the stage"),
    "gamma": Variable("exponent", "the gamma of base^beta frequency^gamma nearest to the stage"),
    "capped": Variable("0 or 1", "beta stands at the cap, and its part is what an exponent within the cap explains"),
    "frequency_capped": Variable("0 or 1", "the same of beta_with_frequency or gamma"),
    "beta_prompt": Variable("exponent", "the one beta nearest to the stage over all rows of a prompt"),
    "temperature_share_prompt": Variable("share", "the part of KL(stage || base), summed over them, that it explains"),
    "capped_prompt": Variable("0 or 1", "beta_prompt stands at the cap"),
    "beta_global": Variable("exponent", "the one beta nearest to the stage over all rows of all prompts"),
    "temperature_share_global": Variable("share", "the part of KL(stage || base), summed over them, that it explains"),
    "capped_global": Variable("0 or 1", "beta_global stands at the cap"),
    "rank_under_base": Variable("rank", "rank under the base of the stage's most likely token; 1 is the base's own"),
    "shift_class": Variable("class", "0 unshifted (that rank is 1), 1 marginal (2 or 3), 2 shifted (above 3)"),
    "kendall_tau": Variable("", "Kendall's tau-a of the stage's and the base's order of the base's top tokens"),
    "top_k_jaccard": Variable("share", "tokens in the top of both stage and base over tokens in either"),
    "shapley": Variable("nats", "Shapley value: the mean effect of a part's joining, over orders in which parts join"),
    "alone_first": Variable("nats", "effect of swapping it into the base before any other player"),
    "alone_last": Variable("nats", "effect of swapping it in after all others"),
    "total": Variable("nats", "what the parts must sum to"),
    "completeness_error": Variable("share", "|sum of the parts - total| / max(|total|, 0.1)"),
    "distinct": Variable("share", "different texts among the samples of a prompt"),
    "sample_nll": Variable("nats per token", "-log P(samples of the edit) under the base, over their tokens"),
    "control_kl": Variable("nats", "KL(tuned || edit), mean over the positions of the tuned stage's own answer"),
    "control_agreement": Variable("share", "of those positions where the edit's most likely token is the tuned one's"),
    "regained": Variable("share", "mean entropy, edit minus tuned, over base minus tuned; 1 has all of it back"),
    "log_odds_regained": Variable("share", "the same of attractor_log_odds"),
    "distinct_regained": Variable("share", "the same of distinct"),
    "n_sites": Variable("count", "sites that an edit reverts together"),
    "temperature": Variable("", "what logits are divided by before they are read and sampled"),
}


FORMS: dict[str, Variable] = {
    "_share": Variable("share", "mean over prompts over the mean of the whole change"),
    "_control": Variable("", "the same for patches by a control donor"),
    "_effect": Variable("", "the same: ablated minus clean"),
    "_direct": Variable("", "the same: ablated with the final norm's scale frozen, minus clean"),
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
