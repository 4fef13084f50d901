"""What a run found, in a few sentences from its summary, and the charts that support them."""

from collections.abc import Callable, Collection
from typing import Any

SUPPORT = (
    "depth-own", "locate-ranking", "locate-verification", "patch-effects", "attribution-update", "behaviour-stages",
)  # fmt: skip
OUTPUTS = ("attn_out", "mlp_out", "z", "mlp_post")


def sentences(summary: dict[str, Any]) -> list[str]:
    """What a report begins with: one entry for every analysis that was made, the verdict first."""
    found = [say(summary) for name, say in SAID.items() if summary.get(name)]
    return [said for said in found if said] or [
        f"{summary['n_prompts']} prompts under {len(summary['stages'])} stages: {', '.join(summary['stages'])}."
    ]


def supporting(charts: Collection[str]) -> list[str]:
    """The names of the three charts that stand beside the verdict, of those that were drawn."""
    chosen = [name for name in SUPPORT if name in charts]
    return [*chosen, *(name for name in charts if name not in chosen)][:3]


def entropy_sentence(summary: dict[str, Any]) -> str:
    """Entropy along the stages, and the stage that lost most."""
    stages, base = summary["stages"], summary["stages"][0]
    means = ", ".join(f"{summary['entropy'][name]['mean']:.2f} in {name}" for name in stages)
    name, gap = min(summary["entropy_differences"].items(), key=lambda item: item[1]["mean"])
    begin = f"After the prompt the next token has an entropy of {means} (nats, mean of {summary['n_prompts']} prompts)."
    if gap["mean"] >= 0:
        return f"{begin} No stage has less than {base}."
    ends = "" if gap["ci_low"] is None else f" (95 % interval {gap['ci_low']:+.2f} to {gap['ci_high']:+.2f})"
    certain = gap["ci_high"] is not None and gap["ci_high"] < 0
    doubt = "" if certain else ", which these prompts do not tell from nothing"
    return f"{begin} The largest fall from {base} is in {name}, by {gap['mean']:.2f}{ends}{doubt}."


def patch_sentence(summary: dict[str, Any]) -> str:
    """For the pair of stages that lie furthest apart, the attention or MLP output whose patch moves furthest."""
    directions = sorted(summary["patch"]["directions"].items(), key=lambda item: -abs(item[1]["gap"] or 0.0))
    said = [direction_sentence(name, one) for name, one in directions[:2]]
    return " ".join(sentence for sentence in said if sentence)


def direction_sentence(name: str, one: dict[str, Any]) -> str:
    """One direction's best output site beside a random change of the same size, read after the prompt."""
    cells = [cell for cell in one["cells"] if cell["site"] in OUTPUTS and cell["share"] is not None]
    if not cells:
        return ""
    best = max(cells, key=lambda cell: cell["share"])
    place = " ".join(f"{axis} {best[axis]}" for axis in ("layer", "head", "position") if axis in best)
    known = (
        []
        if best["share_low"] is None
        else [f"95 % interval {percent(best['share_low'])} to {percent(best['share_high'])}"]
    )
    known += (
        [] if best.get("random") is None else [f"a random change of equal size {percent(best['random'] / one['gap'])}"]
    )
    said = f" ({'; '.join(known)})." if known else "."
    return (
        f"Put into {one['recipient']}, {one['donor']}'s {best['site']} of {place} moves {percent(best['share'])} "
        f"of the {abs(one['gap']):.2f} nats of log-odds between them{said}"
    )


def update_sentence(summary: dict[str, Any]) -> str:
    """For the stage whose update changed the metric most, the groups of weights that made most of it."""
    stage, one = max(summary["update"]["stages"].items(), key=lambda item: abs(item[1]["total"]))
    best = [f"{part['component']} {percent(part['share'])}" for part in one["parts"][:3] if part["share"] is not None]
    if not best:
        return ""
    metric = summary["update"]["metric"].replace("_", " ")
    change = f"Of the {one['total']:+.2f} nats of {metric} that the update to {stage} made"
    return f"{change}, the largest parts are {', '.join(best)}."


def behaviour_sentence(summary: dict[str, Any]) -> str:
    """Which experiments on behaviour were made."""
    names = [name.replace("_", " ") for name in summary["behaviour"]]
    return f"Measured of what the stages write: {', '.join(names)}."


def percent(share: float) -> str:
    """A share as a whole percentage."""
    return f"{round(100 * share)} %"


SAID: dict[str, Callable[[dict[str, Any]], str]] = {
    "said": lambda summary: summary["said"],
    "entropy": entropy_sentence,
    "patch": patch_sentence,
    "update": update_sentence,
    "behaviour": behaviour_sentence,
}
