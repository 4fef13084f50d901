"""Several runs beside each other: how their questions differ, their headline numbers, and prompts that they share."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import altair as alt
import pandas as pd

from mcinterp.show.theme import MUTED, TUNED, themed

Named = tuple[str, dict[str, Any], dict[str, Any]]
MISSING = "–"


class Beside(NamedTuple):
    """Rows of two tables, each a name and one text a run, and charts by name."""

    differing: list[tuple[str, list[str]]]
    numbers: list[tuple[str, list[str]]]
    charts: dict[str, Any]


def beside(runs: Sequence[Named]) -> Beside:
    """What differs between runs (name, summary, record), their numbers, and a chart where two share prompts."""
    charts = shared_prompts(runs) if len(runs) == 2 else {}
    return Beside(differing([record for _, _, record in runs]), numbers([summary for _, summary, _ in runs]), charts)


def differing(records: Sequence[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    """The parts of the questions, checkpoints and versions that are not the same in all runs."""
    flat = [flattened(asked_of(record)) for record in records]
    names = list(dict.fromkeys(name for one in flat for name in one))
    rows = [(name, [one.get(name, MISSING) for one in flat]) for name in names]
    return [(name, values) for name, values in rows if len(set(values)) > 1]


def asked_of(record: dict[str, Any]) -> dict[str, Any]:
    """What a run was asked, of which weights, by which versions."""
    weights = {one["name"]: one["fingerprint"][:12] for one in record.get("checkpoints", [])}
    return {**record.get("question", {}), "weights": weights, "versions": record.get("versions", {})}


def flattened(value: Any, name: str = "") -> dict[str, str]:
    """Nested mappings as one of dotted names to texts."""
    if isinstance(value, dict):
        inner = [flattened(one, f"{name}.{key}".strip(".")) for key, one in value.items()]
        return {key: text for each in inner for key, text in each.items()}
    return {name: ", ".join(map(str, value)) if isinstance(value, list) else str(value)}


def numbers(summaries: Sequence[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    """The first numbers of every run: what some run lacks is a dash there."""
    columns = [headline_numbers(summary) for summary in summaries]
    names = list(dict.fromkeys(name for one in columns for name in one))
    return [(name, [one.get(name, MISSING) for one in columns]) for name in names]


def headline_numbers(summary: dict[str, Any]) -> dict[str, str]:
    """Verdict, sites, entropies, strongest patches and parts of the update as texts with their intervals."""
    found = {"prompts": str(summary["n_prompts"])}
    if "verdict" in summary:
        found["verdict"] = summary["verdict"]
        found["named sites"] = ", ".join(summary["named"]) or MISSING
        for one in summary["located"][:3]:
            found[f"score of {one['component']}"] = with_ends(one["score"], one["ci_low"], one["ci_high"])
    for stage in summary["stages"] if "entropy" in summary else []:
        own = summary["entropy"][stage]
        found[f"entropy of {stage} (nats)"] = with_ends(own["mean"], own["ci_low"], own["ci_high"])
    for stage, gap in summary.get("entropy_differences", {}).items():
        found[f"{stage} minus base (nats)"] = with_ends(gap["mean"], gap["ci_low"], gap["ci_high"])
    for direction, one in summary.get("patch", {}).get("directions", {}).items():
        best = one["cells"][0] if one["cells"] else None
        if best is not None and best["share"] is not None:
            place = f"{best['site']} {best['layer']}"
            share = with_ends(best["share"], best["share_low"], best["share_high"])
            found[f"strongest patch, {direction}"] = f"{place}: {share}"
    for stage, one in summary.get("update", {}).get("stages", {}).items():
        found[f"largest part of the update to {stage}"] = ", ".join(part["component"] for part in one["parts"][:2])
    return found


def with_ends(mean: float, low: float | None, high: float | None) -> str:
    """A number with its interval, where there is one."""
    return f"{mean:.3f}" if low is None or high is None else f"{mean:.3f} [{low:.3f}, {high:.3f}]"


def shared_prompts(runs: Sequence[Named]) -> dict[str, Any]:
    """The change of entropy prompt by prompt in one run against the other, where both have it for the same prompts."""
    both = [changes(summary) for _, summary, _ in runs]
    shared = [key for key in both[0] if key in both[1]]
    if not shared:
        return {}
    axes = [f"{name} ({number})" for number, (name, _, _) in enumerate(runs, 1)]
    table = pd.DataFrame({"text": [key[0] for key in shared], "x": [both[0][key] for key in shared],
                          "y": [both[1][key] for key in shared]})  # fmt: skip
    ends = pd.DataFrame({"x": [table[["x", "y"]].to_numpy().min(), max(0.0, table[["x", "y"]].to_numpy().max())]})
    line = alt.Chart(ends).mark_line(color=MUTED, strokeDash=[3, 3]).encode(x="x:Q", y="x:Q")
    points = alt.Chart(table).mark_point(filled=True, size=36, color=TUNED, opacity=0.6).encode(
        x=alt.X("x:Q", title=f"{axes[0]}: change of entropy (nats)"),
        y=alt.Y("y:Q", title=f"{axes[1]}: change of entropy (nats)"),
        tooltip=["text", *(alt.Tooltip(f"{axis}:Q", format="+.3f", title=name)
                           for axis, name in zip("xy", axes, strict=True))],
    )  # fmt: skip
    return {"beside": themed((line + points).properties(width=300, height=300, title="The same prompts")).to_dict()}


def changes(summary: dict[str, Any]) -> dict[tuple[str, str], float]:
    """Entropy of the last stage minus that of the base, by text and rendering, where it was measured."""
    base, last = summary["stages"][0], summary["stages"][-1]
    known = [one for one in summary["prompts"] if "entropy" in one]
    return {(one["text"], one["rendering"]): one["entropy"][last] - one["entropy"][base] for one in known}
