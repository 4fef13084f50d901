"""`mcinterp catalogue`: real pairs and chains, what they need, and the commands that run them."""

import argparse
from collections.abc import Iterable, Sequence

from mcinterp.catalogue import PREFIX, Entry, Published, entries, entry, expanded, left_out
from mcinterp.cli.options import table

GB = 1e9
WIDTHS = {"float32": 4, "bfloat16": 2}
PLACEMENTS = ("together", "one", "stream")
GPUS = (24, 80)
ENDS_ONLY = ("uncollapse",)
HEADER = ["name", "stages", "parameters", "together (GB)", "stream (GB)", "gated", "template"]


def add_catalogue(verb: argparse.ArgumentParser) -> None:
    """Arguments of `catalogue`."""
    verb.add_argument("name", metavar="NAME", nargs="?", help="all that is known of one entry (default: list them all)")
    verb.add_argument("--markdown", action="store_true", help="the list as a Markdown table")
    verb.set_defaults(call=run_catalogue)


def run_catalogue(options: argparse.Namespace) -> None:
    """`mcinterp catalogue`."""
    if options.name is not None:
        print("\n".join(described(entry(options.name.removeprefix(PREFIX)))))
    elif options.markdown:
        print(markdown())
    else:
        rows = [HEADER, *(row(each) for each in entries())]
        print(table([[line[0], *(cell.ljust(width(rows, i + 1)) for i, cell in enumerate(line[1:]))] for line in rows]))
        print("\nmemory of the whole chain in bfloat16; `mcinterp catalogue NAME` says more")
        print(f"left out, with reasons under `mcinterp catalogue NAME`: {', '.join(left_out())}")


def with_stages(arguments: Sequence[str]) -> list[str]:
    """The command line with every `catalogue:NAME` replaced by its stages: the first and last where a verb wants two.

    Raises `InputError` for an unknown entry.
    """
    if not arguments or arguments[0] == "catalogue":
        return list(arguments)
    found: list[str] = []
    for word in arguments:
        stages = expanded([word])
        found += [stages[0], stages[-1]] if arguments[0] in ENDS_ONLY and len(stages) > 1 else stages
    return found


def width(rows: Sequence[Sequence[str]], column: int) -> int:
    """The longest word of a column."""
    return max(len(line[column]) for line in rows)


def row(each: Entry) -> list[str]:
    """One line of the list: memory in bfloat16, gigabytes of 1e9 bytes."""
    return [
        each.name,
        ", ".join(stage.name for stage in each.stages),
        readable(each.parameters),
        f"{needed(each, 'together', 'bfloat16'):.1f}",
        f"{needed(each, 'stream', 'bfloat16'):.1f}",
        "yes" if each.gating else "no",
        each.template.kind if each.template else "none",
    ]


def markdown() -> str:
    """The list as a Markdown table."""
    lines = [HEADER, ["---"] * len(HEADER), *(row(each) for each in entries())]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def readable(count: int) -> str:
    """A number of parameters in millions or billions."""
    return f"{count / 1e6:.0f}M" if count < 1e9 else f"{count / 1e9:.2f}B"


def needed(each: Entry, placement: str, dtype: str, stages: Sequence[Published] = ()) -> float:
    """Gigabytes that the whole chain, or some of its stages, need by the estimate that chooses placements."""
    from mcinterp.placement.memory import Need, held

    needs = [Need(stage.name, "", *bytes_of(each, stage, WIDTHS[dtype])) for stage in stages or each.stages]
    return held(placement, needs) / GB


def bytes_of(each: Entry, stage: Published, width: int) -> tuple[int, int, int]:
    """Bytes of a stage's weights: all, those outside the layers, and one layer's."""
    inside, outside = each.parameters_of(stage)
    return (inside + outside) * width, outside * width, int(inside * width / each.shape.n_layers)


def described(each: Entry) -> list[str]:
    """All that is known of an entry."""
    lines = [f"{each.name}: {each.title} ({each.architecture})", ""]
    lines += indented("stages", stage_lines(each))
    lines += indented("shape", [shape_line(each)])
    lines += indented("parameters", [f"{each.parameters:,} by shape, which agrees with {each.counted_by}"])
    lines += indented("chat template", template_lines(each))
    lines += indented("gated", [each.gating or "no"])
    lines += indented("licence", [each.licence])
    lines += indented("traps", [f"{trap.kind}: {trap.says}" for trap in each.traps])
    lines += indented("memory", memory_lines(each))
    lines += indented("commands", recipes(each))
    lines += indented(f"checked {each.checked}, from stored copies and without the hub", each.sources)
    return lines + indented("not confirmed", each.unconfirmed)


def indented(title: str, lines: Iterable[str]) -> list[str]:
    """A title and what stands below it."""
    return [f"{title}:", *(f"  {line}" for line in lines)]


def stage_lines(each: Entry) -> list[str]:
    """The stages in aligned columns."""
    rows = [
        [stage.name, stage.hub, stage.revision, stage.method, stage.dtype or "dtype not confirmed"]
        for stage in each.stages
    ]
    return ["  ".join(cell.ljust(width(rows, i)) for i, cell in enumerate(line)).rstrip() for line in rows]


def shape_line(each: Entry) -> str:
    """Sizes in one line, and what differs between stages."""
    shape = each.shape
    rows = " and ".join(f"{n}" for n in dict.fromkeys(stage.vocabulary for stage in each.stages))
    context = " and ".join(f"{n}" for n in dict.fromkeys(stage.context for stage in each.stages))
    return (
        f"{shape.n_layers} layers, d_model {shape.d_model}, {shape.n_heads} heads of {shape.d_head} "
        f"({shape.n_kv_heads} key-value heads), d_mlp {shape.d_mlp}, vocabulary rows {rows}, context {context} tokens, "
        f"unembedding {'tied' if shape.tied else 'not tied'}"
    )


def template_lines(each: Entry) -> list[str]:
    """What the template is called, who brings it, and how it renders one message."""
    if each.template is None:
        return ["none in any stage"]
    brought = ", ".join(stage.name for stage in each.stages if stage.templated)
    lines = [f"{each.template.kind}, brought by {brought}" if brought else each.template.kind]
    return [*lines, repr(each.template.rendered)] if each.template.rendered else [*lines, "exact form not confirmed"]


def memory_lines(each: Entry) -> list[str]:
    """What the whole chain needs, by dtype and placement."""
    return [
        f"{dtype}: " + ", ".join(f"{placement} {needed(each, placement, dtype):.1f} GB" for placement in PLACEMENTS)
        for dtype in WIDTHS
    ]


def recipes(each: Entry) -> list[str]:
    """The commands that run the entry on a CPU and on GPUs; with base and last stage alone where all is too much."""
    whole = [f"{PREFIX}{each.name}"]
    lines = [f"on a CPU: {command(each, whole, 'cpu', 'float32', 'auto')}"]
    for size in GPUS:
        ends = (each.stages[0], each.stages[-1])
        some = whole if fitting(each, size) else [f"{PREFIX}{each.name}/{stage.name}" for stage in ends]
        fits = fitting(each, size) or fitting(each, size, ends) or "stream"
        lines.append(f"on a GPU with {size} GB: {command(each, some, 'cuda', 'bfloat16', fits)}")
    return lines


def fitting(each: Entry, size: int, stages: Sequence[Published] = ()) -> str | None:
    """The first placement whose need in bfloat16 is within what is used of a device of `size` gigabytes."""
    from mcinterp.placement.memory import USABLE

    return next((name for name in PLACEMENTS if needed(each, name, "bfloat16", stages) <= USABLE * size), None)


def command(each: Entry, specs: Sequence[str], device: str, dtype: str, placement: str) -> str:
    """One command line."""
    pickled = " --allow-pickle" if any("--allow-pickle" in trap.says for trap in each.traps) else ""
    template = "both" if any(stage.templated for stage in each.stages) else "raw"
    return (
        f"mcinterp compare {' '.join(specs)} --device {device} --dtype {dtype} --placement {placement} "
        f"--template {template}{pickled} --out runs/{each.name}"
    )
