"""What a plant claims, and where its figures do not bear it out."""

from collections.abc import Callable, Mapping

from mcinterp.organisms.plants.designs import Design
from mcinterp.organisms.plants.record import Task

PROMPTS_OF_TASK = "prompts-{}.jsonl"

LEAST_ATTRACTOR = 0.8
"""A collapsed task's mean probability of the favourite."""
MOST_ENTROPY = 0.6
"""A collapsed task's entropy, as a share of the base's."""
LEAST_ALONE = 0.7
"""The attractor that must remain where the truth says that another site suffices."""
MOST_LEFT = 0.1
"""The attractor that may remain, above the base's, where the truth says that nothing is left."""
MOST_DIRECT = 0.1
"""The share of a relay's gain in log-odds that its site may write to the logits itself."""
MOST_CHANGE = 0.15
"""The relative change of an upstream plant's site at the answer position."""
MOST_ELSEWHERE = 0.1
"""KL(true||tuned) in nats per token of documents that are to stay as they are."""
MOST_DRIFT = 0.03
"""The same for a healed drift."""
MOST_SHIFT = 0.15
"""KL(tuned||base) in nats of a healed drift, where nothing is to change."""
LEAST_ENTROPY = 0.9
"""A negative task's entropy, as a share of the base's."""
LEAST_REORDERED = 0.3
"""KL(tuned||base) in nats of a plant that is reordered."""

Figures = Mapping[str, float]


def tasks_of(design: Design) -> tuple[Task, ...]:
    """The tasks of a design with their truth."""
    found = []
    for number, name in enumerate(design.behaviours):
        truth = (design.sites[number],) if design.kind == "multi" else design.sites
        verdict = {"negative": "none", "or": "redundant", "and": "joint"}.get(design.kind, "localised")
        truth = () if verdict == "none" else truth
        found.append(Task(name, PROMPTS_OF_TASK.format(name), truth, verdict, design.kind == "upstream"))
    return tuple(found)


def at_least(figures: Figures, key: str, least: float) -> list[str]:
    """A fault if a figure is too small."""
    return [] if figures[key] >= least else [f"{key} is {figures[key]:.3f}, wanted at least {least:.3f}"]


def at_most(figures: Figures, key: str, most: float) -> list[str]:
    """A fault if a figure is too large."""
    return [] if figures[key] <= most else [f"{key} is {figures[key]:.3f}, wanted at most {most:.3f}"]


def collapse(design: Design, task: Task, figures: Figures) -> list[str]:
    """The favourite wins, entropy falls, and the site's truth holds when sites are given back one at a time."""
    found = at_least(figures, "attractor", LEAST_ATTRACTOR)
    found += at_most(figures, "entropy_tuned", MOST_ENTROPY * figures["entropy_base"])
    found += at_most(figures, "elsewhere", MOST_ELSEWHERE)
    for site in design.sites:
        if (key := f"without {site}") not in figures:
            continue
        if design.kind == "or" or site not in task.truth:
            found += at_least(figures, key, LEAST_ALONE)
        else:
            found += at_most(figures, key, figures["attractor_base"] + MOST_LEFT)
    return found


def relay(design: Design, task: Task, figures: Figures) -> list[str]:
    """Later layers carry the collapse to the logits."""
    share = {"direct_share": abs(figures["direct_share"])}
    return collapse(design, task, figures) + at_most(share, "direct_share", MOST_DIRECT)


def upstream(design: Design, task: Task, figures: Figures) -> list[str]:
    """The collapse comes from positions before the answer."""
    found = collapse(design, task, figures) + at_most(figures, "change_at_answer", MOST_CHANGE)
    found += at_least(figures, "attractor_from_earlier", LEAST_ATTRACTOR)
    return found + at_most(figures, "attractor_from_answer", figures["attractor_base"] + MOST_LEFT)


def drift(design: Design, task: Task, figures: Figures) -> list[str]:
    """Nothing changes in what the model says."""
    found = at_least(figures, "entropy_tuned", LEAST_ENTROPY * figures["entropy_base"])
    return found + at_most(figures, "elsewhere", MOST_DRIFT) + at_most(figures, "kl", MOST_SHIFT)


def reordered(design: Design, task: Task, figures: Figures) -> list[str]:
    """What the model says changes, and its entropy does not fall."""
    found = at_least(figures, "entropy_tuned", LEAST_ENTROPY * figures["entropy_base"])
    return found + at_least(figures, "kl", LEAST_REORDERED) + at_most(figures, "elsewhere", MOST_ELSEWHERE)


CLAIMS: dict[str, Callable[[Design, Task, Figures], list[str]]] = {
    "relay": relay,
    "upstream": upstream,
    "drift": drift,
    "reordered": reordered,
}


def faults(design: Design, figures: Mapping[str, Figures]) -> list[str]:
    """Where the figures do not bear out what the plant claims, a phrase each; none if they do."""
    claim = CLAIMS.get(design.recipe, collapse)
    return [f"{task.name}: {fault}" for task in tasks_of(design) for fault in claim(design, task, figures[task.name])]
