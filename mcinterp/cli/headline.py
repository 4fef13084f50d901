"""What a finished run says in the terminal, from its summary: the verdict, tables, and sparklines over the depth."""

from collections.abc import Callable, Sequence
from typing import Any

from mcinterp.cli.options import table
from mcinterp.summary import behaviour

BARS = "▁▂▃▄▅▆▇█"
OF_MANY, OF_ONE = 2, 6
TITLES = {
    "logits": "logit attribution",
    "update": "update attribution",
    "shapley": "Shapley values of grafts",
    "entropy_split": "entropy at the readout",
}


def headline(summary: dict[str, Any]) -> str:
    """All that a run found, as far as it was asked: one block of lines an analysis, shorter where there are many."""
    parts = [name for name in SAID if summary.get(name)]
    count = OF_MANY if len(parts) > 1 else OF_ONE
    lines = [f"{name}: {said}" for name, said in differing(summary["alignment"]).items()]
    blocks = [*(SAID[name](summary, count) for name in parts), lines]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def differing(alignment: dict[str, Any]) -> dict[str, str]:
    """The aligned properties that are not the same in all stages, with their values."""
    return {
        name: ", ".join(f"{stage} {value!r}" for stage, value in entry["values"].items())
        + (", cut to the common part" if entry["verdict"] == "cut" else "")
        for name, entry in alignment["properties"].items()
        if entry["verdict"] != "same"
    }


def lens_lines(summary: dict[str, Any]) -> list[str]:
    """Entropy by stage with its course over the depth, the fall to the last one, and the onset under every lens."""
    entropy, stages, along = summary["entropy"], summary["stages"], summary["entropy_by_depth"]
    highest = max(max(values) for values in along["stages"].values())
    rows = [["entropy (nats)", f"{along['depths'][0]} to {along['depths'][-1]}", "after the prompt", "95 % interval"]]
    for name in stages:
        ends = interval(entropy[name]["ci_low"], entropy[name]["ci_high"], "")
        rows.append([f"  {name}", sparkline(along["stages"][name], highest), f"{entropy[name]['mean']:.3f}", ends])
    lines = [table(rows)]
    gap = entropy["difference"]
    ends = "" if gap["ci_low"] is None else f" [{gap['ci_low']:+.3f}, {gap['ci_high']:+.3f}]"
    where = f"at the last prompt position, {summary['n_prompts']} prompt{'s' * (summary['n_prompts'] != 1)}"
    lines.append(f"{stages[-1]} minus {stages[0]}: {gap['mean']:+.3f} nats{ends} {where}")
    for lens, one in summary["onset"].items():
        found = one["missing_because"] or f"layer {one['layer']} {one['site']} (p = {one['p_value']:.3f})"
        lines.append(f"onset, {lens} lens: {found}")
    return lines


def sparkline(values: Sequence[float], highest: float) -> str:
    """One bar a value, from 0 to the highest."""
    top = len(BARS) - 1
    return "".join(BARS[round(top * max(0.0, value) / highest) if highest > 0 else 0] for value in values)


def patch_lines(patched: dict[str, Any], count: int = OF_ONE) -> list[str]:
    """The strongest cells of every direction beside the random control, and the noise floor."""
    floor = patched["noise_floor"]
    known = "" if floor is None else f"; own activations put back changed at most {floor:.1e} nats"
    return [*effect_lines(patched, count), f"engine: {patched['engine']}{known}"]


def effect_lines(moved: dict[str, Any], count: int = OF_ONE, title: str = "") -> list[str]:
    """The strongest cells of every direction, beside the random control where there is one."""
    lines = []
    for direction, one in moved["directions"].items():
        rows = [[f"{title}{direction}, {moved['metric']}", "effect", "95 % interval", "share of gap", "random donor"]]
        rows += [cell_row(cell) for cell in one["cells"][:count]]
        lines.append(table(rows if "random" in one["cells"][0] else [row[:-1] for row in rows]))
    return lines


def cell_row(cell: dict[str, Any]) -> list[str]:
    """One cell as words."""
    axes = () if "component" in cell else ("layer", "head", "position", "read_at")
    place = " ".join([cell.get("component", cell["site"]), *(f"{axis} {cell[axis]}" for axis in axes if axis in cell)])
    ends = interval(cell["effect_low"], cell["effect_high"])
    return [f"  {place}", signed(cell["effect"]), ends, signed(cell["share"]), signed(cell.get("random"))]


def temperature_lines(summary: dict[str, Any]) -> list[str]:
    """What every stage's KL to the base is made of."""
    lines = []
    for stage, kl in summary["temperature"]["stages"].items():
        shares = ", ".join(
            f"{n.removesuffix('_kl')} {kl[n]:.3f}" for n in ("temperature_kl", "frequency_kl", "reordering_kl")
        )
        lines.append(f"{stage}: KL to base {kl['kl_stage_to_base']:.3f} nats = {shares}")
    return lines


def screen_lines(summary: dict[str, Any]) -> list[str]:
    """How far estimated patches agree with exact ones."""
    return [
        f"{direction}: estimated and exact patches, rank correlation {one['rank_correlation']:.2f}"
        for direction, one in summary["screen"]["directions"].items()
    ]


def behaviour_lines(summary: dict[str, Any]) -> list[str]:
    """The headline of every experiment."""
    found = summary["behaviour"]
    said = [f"{name.replace('_', ' ')}\n{behaviour.of(name).headline(one)}\n" for name, one in found.items()]
    return said + [f"without {name}: {reason}" for name, reason in summary.get("refused", {}).items()]


def parts_lines(title: str, found: dict[str, Any], count: int = OF_ONE) -> list[str]:
    """The largest parts of every stage."""
    lines = []
    for stage, one in found["stages"].items():
        error = one["completeness_error"]
        missing = "" if error is None else f", at most {100 * error:.2g} % missing"
        rows = [[f"{title}, {stage}: {one['total']:+.3f} nats{missing}", "mean", "95 % interval", "share"]]
        for part in one["parts"][:count]:
            name = part.get("component", part.get("player"))
            rows.append([f"  {name}", signed(part["mean"]), interval(part["low"], part["high"]), signed(part["share"])])
        lines.append(table(rows))
    return lines


def locate_lines(summary: dict[str, Any]) -> list[str]:
    """The verdict in words, the first sites with their scores, and what the verification brought back."""
    lines = [summary["said"], f"read at: {summary['gate']['at']}"]
    if summary["located"]:
        rows = [["site", "share of the collapse", "95 % interval"]]
        rows += [
            [f"  {one['component']}", signed(one["score"]), interval(one["ci_low"], one["ci_high"])]
            for one in summary["located"][:OF_ONE]
        ]
        lines.append(table(rows))
    lines += verification_lines(summary["verification"]) if summary["verification"] else []
    for step in summary["steps"]:
        lines.append(f"{step['from_stage']} to {step['stage']}: {step['verdict']} ({', '.join(step['named']) or '-'})")
    return lines


def verification_lines(verified: dict[str, Any]) -> list[str]:
    """By part of the prompts, what every edit regains and what it costs."""
    lines, controlled = [], False
    for part, edits in verified["parts"].items():
        title = f"base weights put back, {part.replace('_', '-')} prompts"
        rows = [[title, "entropy back", "log-odds back", "kept", "control KL"]]
        rows += [
            [f"  {name}{of_sites(one)}", signed(one["regained"]), signed(one["log_odds_regained"]), *kept(one)]
            for name, one in edits.items()
            if name not in ("tuned", "base")
        ]
        controlled = any(one.get("control_kl") is not None for one in edits.values())
        lines.append(table(rows if controlled else [row[:3] for row in rows]))
    return lines if controlled else [*lines, "what it costs elsewhere is not known: give `locate` --controls FILE"]


def of_sites(edit: dict[str, Any]) -> str:
    """The sites of an edit, in brackets."""
    return f" ({edit['sites']})" if edit["sites"] else ""


def kept(edit: dict[str, Any]) -> list[str]:
    """The share of control tokens on which the edited stage still chooses what the tuned one does, and KL to it."""
    return ["–" if edit.get(name) is None else f"{edit[name]:.3f}" for name in ("control_agreement", "control_kl")]


def interval(low: float | None, high: float | None, sign: str = "+") -> str:
    """The ends of an interval, with their signs unless it is told without; a dash where it is missing."""
    return "–" if low is None or high is None else f"{low:{sign}.3f} to {high:{sign}.3f}"


def signed(value: float | None) -> str:
    """A number with its sign; a dash for none."""
    return "–" if value is None else f"{value:+.3f}"


SAID: dict[str, Callable[[dict[str, Any], int], list[str]]] = {
    "said": lambda summary, count: locate_lines(summary),
    "entropy": lambda summary, count: lens_lines(summary),
    "patch": lambda summary, count: patch_lines(summary["patch"], count),
    **{name: (lambda summary, count, name=name: parts_lines(TITLES[name], summary[name], count)) for name in TITLES},
    "grafts": lambda summary, count: effect_lines(summary["grafts"], count, "grafts "),
    "temperature": lambda summary, count: temperature_lines(summary),
    "screen": lambda summary, count: screen_lines(summary),
    "behaviour": lambda summary, count: behaviour_lines(summary),
}
