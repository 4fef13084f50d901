"""What is measured of a plant on its saved weights, task by task: the collapse, and what proves the kind.

Entropies and divergences are in nats, attractors are mean probabilities of the favourite. ``without SITE`` is the
attractor of the tuned checkpoint with the site given back to the base, ``only SITE`` that of the base with the site
taken from the tuned one.
"""

import torch
from transformers import LlamaForCausalLM

from mcinterp.organisms.plants.behaviours import Exam, exam_on
from mcinterp.organisms.plants.ground import Ground
from mcinterp.organisms.plants.lessons import LogProbs, answers, mean_misfit
from mcinterp.organisms.plants.sites import spliced
from mcinterp.organisms.plants.writes import direct_effect, log_odds, read_write, relative_change

TaskFigures = dict[str, float]


def attractor(logs: LogProbs, exam: Exam) -> float:
    """Mean probability of the favourite."""
    return float(logs[exam.row, exam.favourite].exp().mean())


def common(ground: Ground, tuned: LlamaForCausalLM, exam: Exam) -> TaskFigures:
    """KL(tuned||base), both entropies, and the favourite's probability in both checkpoints."""
    after, before = answers(tuned, exam), answers(ground.base.model, exam)
    q, p = after.exp(), before.exp()
    return {
        "kl": float((q * (after - before)).sum(-1).mean()),
        "entropy_base": float(torch.special.entr(p).sum(-1).mean()),
        "entropy_tuned": float(torch.special.entr(q).sum(-1).mean()),
        "attractor_base": attractor(before, exam),
        "attractor": attractor(after, exam),
        "least_attractor": float(q[exam.row, exam.favourite].min()),
    }


def by_site(ground: Ground, tuned: LlamaForCausalLM, exam: Exam) -> TaskFigures:
    """The attractor without each site, and with it alone."""
    base, found = ground.base.model, TaskFigures()
    for site in ground.sites:
        found[f"without {site.name}"] = attractor(answers(tuned, exam, spliced(site.masks, base, tuned)), exam)
        found[f"only {site.name}"] = attractor(answers(base, exam, spliced(site.masks, tuned, base)), exam)
    return found


def relayed(ground: Ground, tuned: LlamaForCausalLM, exam: Exam) -> TaskFigures:
    """How much of the gain in log-odds the site writes to the logits itself."""
    (site,) = ground.sites
    before, reference = read_write(ground.base.model, site.name, exam)
    after, direct = direct_effect(tuned, site.name, exam, reference)
    gain = float((log_odds(after, exam) - log_odds(before, exam)).mean())
    return {"log_odds_gain": gain, "direct_effect": float(direct.mean()), "direct_share": float(direct.mean()) / gain}


def from_upstream(ground: Ground, tuned: LlamaForCausalLM, exam: Exam) -> TaskFigures:
    """The site's change at the answer position, and the attractor with that change undone, and with it alone."""
    (site,) = ground.sites
    _, reference = read_write(ground.base.model, site.name, exam)
    _, write = read_write(tuned, site.name, exam)
    undone, _ = read_write(tuned, site.name, exam, held=reference)
    alone, _ = read_write(ground.base.model, site.name, exam, held=write)
    return {
        "change_at_answer": float(relative_change(write, reference).sqrt().mean()),
        "attractor_from_earlier": attractor(undone, exam),
        "attractor_from_answer": attractor(alone, exam),
    }


PROOFS = {"relay": relayed, "upstream": from_upstream}


@torch.no_grad()
def figures(ground: Ground, tuned: LlamaForCausalLM) -> dict[str, TaskFigures]:
    """All figures of a plant; ``elsewhere`` is KL(true||tuned) in nats per token of unseen other documents."""
    elsewhere = mean_misfit(tuned, ground.unseen)
    found: dict[str, TaskFigures] = {}
    for name in ground.design.behaviours:
        exam = exam_on(ground.base, [q for q in ground.exam.questions if q.behaviour == name])
        found[name] = common(ground, tuned, exam) | {"elsewhere": elsewhere}
        if ground.design.recipe != "lora":
            found[name] |= by_site(ground, tuned, exam)
        if proof := PROOFS.get(ground.design.recipe):
            found[name] |= proof(ground, tuned, exam)
    return {task: {key: round(value, 5) for key, value in listed.items()} for task, listed in found.items()}
