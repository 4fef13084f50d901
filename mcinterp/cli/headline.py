"""What a finished run says in the terminal, from its summary."""

from typing import Any

from mcinterp.cli.options import table

OF_MANY, OF_ONE = 2, 6


def compare_headline(summary: dict[str, Any]) -> str:
    """Differences of alignment, entropy by stage, the onset, and the strongest patched cells, as far as they exist."""
    lines = [f"{name}: {said}" for name, said in differing(summary["alignment"]).items()]
    lines += lens_lines(summary) if "entropy" in summary else []
    lines += patch_lines(summary["patch"], OF_MANY) if "patch" in summary else []
    return "\n".join(lines)


def differing(alignment: dict[str, Any]) -> dict[str, str]:
    """The aligned properties that are not the same in all stages, with their values."""
    return {
        name: ", ".join(f"{stage} {value!r}" for stage, value in entry["values"].items())
        + (", cut to the common part" if entry["verdict"] == "cut" else "")
        for name, entry in alignment["properties"].items()
        if entry["verdict"] != "same"
    }


def lens_lines(summary: dict[str, Any]) -> list[str]:
    """Entropy by stage, the fall to the last one, and the onset under every lens."""
    entropy, stages = summary["entropy"], summary["stages"]
    lines = [f"{name:<16} entropy {s['mean']:.3f} nats" for name, s in entropy.items() if name in stages]
    gap = entropy["difference"]
    ends = "" if gap["ci_low"] is None else f" [{gap['ci_low']:+.3f}, {gap['ci_high']:+.3f}]"
    where = f"at the last prompt position, {summary['n_prompts']} prompts"
    lines.append(f"{stages[-1]} minus {stages[0]}: {gap['mean']:+.3f} nats{ends} {where}")
    for lens, one in summary["onset"].items():
        found = one["missing_because"] or f"layer {one['layer']} {one['site']} (p = {one['p_value']:.3f})"
        lines.append(f"onset, {lens} lens: {found}")
    return lines


def patch_lines(patched: dict[str, Any], count: int = OF_ONE) -> list[str]:
    """The strongest cells of every direction beside the random control, and the noise floor."""
    lines = []
    for direction, one in patched["directions"].items():
        rows = [[f"{direction}, {patched['metric']}", "effect", "95 % interval", "share of gap", "random donor"]]
        rows += [cell_row(cell) for cell in one["cells"][:count]]
        lines.append(table(rows))
    floor = patched["noise_floor"]
    known = "" if floor is None else f"; own activations put back changed at most {floor:.1e} nats"
    return [*lines, f"engine: {patched['engine']}{known}"]


def cell_row(cell: dict[str, Any]) -> list[str]:
    """One cell as words."""
    place = " ".join(f"{axis} {cell[axis]}" for axis in ("layer", "head", "position", "read_at") if axis in cell)
    ends = "–" if cell["effect_low"] is None else f"{cell['effect_low']:+.3f} to {cell['effect_high']:+.3f}"
    return [
        f"  {cell['site']} {place}",
        f"{cell['effect']:+.3f}",
        ends,
        signed(cell["share"]),
        signed(cell.get("random")),
    ]


def signed(value: float | None) -> str:
    """A number with its sign; a dash for none."""
    return "–" if value is None else f"{value:+.3f}"
