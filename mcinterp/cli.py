"""The command line: `mcinterp VERB BASE TUNED [STAGE...] [options]`."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from mcinterp import __version__
from mcinterp.errors import InputError

DESCRIPTION = """\
Where does mode collapse appear between a base language model and its tuned checkpoints?

  mcinterp VERB BASE TUNED [STAGE...] [options]     mcinterp VERB --help says what a verb takes
"""
EPILOG = """\
A checkpoint is a hub id (org/name or org/name@revision), a directory in Hugging Face format, a PEFT adapter directory
(or BASE+ADAPTER), or pocket:base, pocket:sft, pocket:rl, pocket:overoptimised; NAME=CHECKPOINT names the stage.

examples:
  mcinterp compare pocket:base pocket:sft pocket:rl
  mcinterp compare org/model org/model-instruct --template both --device cuda --dtype bfloat16
  mcinterp compare base=./ckpt/base sft=./ckpt/sft rl=./ckpt/rl --prompts my.jsonl --out runs/mine
"""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one sentence, with exit status 2."""

    def error(self, message: str) -> NoReturn:
        """Print the sentence and leave."""
        self.exit(2, f"{self.prog}: {message}\n")


def parser() -> Parser:
    """All verbs, sharing the checkpoints and what is asked of them."""
    shared = Parser(add_help=False)
    shared.add_argument("base", metavar="BASE", help="the base checkpoint")
    shared.add_argument("tuned", metavar="TUNED", help="the checkpoint tuned from it")
    shared.add_argument("stages", metavar="STAGE", nargs="*", default=[], help="further stages, in order of training")
    shared.add_argument(
        "--prompts",
        metavar="FILE|battery:NAME",
        help="a text file (one a line), JSON Lines, or a shipped battery (default: one that fits the checkpoints)",
    )
    shared.add_argument(
        "--template", choices=["raw", "chat", "both"], default="raw", help="how prompts are rendered (default: raw)"
    )
    shared.add_argument(
        "--device", default="cpu", help="a torch device, or one a stage separated by commas (default: cpu)"
    )
    shared.add_argument(
        "--dtype",
        default="auto",
        help="float32, bfloat16, float16 or float64, or one a stage (default: float32 on cpu, else as stored)",
    )
    shared.add_argument("--seed", type=int, default=0, help="seed of everything random (default: 0)")
    shared.add_argument("--quiet", action="store_true", help="no progress and no closing lines")

    top = Parser(
        prog="mcinterp", description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    top.add_argument("--version", action="version", version=f"mcinterp {__version__}")
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True, parser_class=Parser)
    add_compare(
        verbs.add_parser("compare", parents=[shared], help="compare checkpoints layer by layer and write a report")
    )
    add_fit_lens(verbs.add_parser("fit-lens", parents=[shared], help="fit a tuned lens for every stage"))
    report = verbs.add_parser("report", help="write the report of a run again")
    report.add_argument("run", metavar="RUN_DIR", help="a directory that compare has written")
    report.set_defaults(call=run_report)
    figures = verbs.add_parser("figures", help="write the pictures of a run as SVG and PNG")
    figures.add_argument("run", metavar="RUN_DIR", help="a directory that compare has written")
    figures.add_argument("--out", metavar="DIR", required=True, help="where the pictures are written")
    figures.set_defaults(call=run_figures)
    return top


def add_compare(verb: argparse.ArgumentParser) -> None:
    """Options of `compare`."""
    verb.add_argument("--out", metavar="DIR", help="run directory (default: runs/BASE-TUNED)")
    verb.add_argument(
        "--positions",
        choices=["last", "prompt", "completion", "all"],
        default="all",
        help="which positions are read (default: all)",
    )
    verb.add_argument(
        "--max-new-tokens",
        type=int,
        default=24,
        metavar="N",
        help="length of the teacher-forced completion (default: 24)",
    )
    verb.add_argument(
        "--temperature",
        type=float,
        default=0.0,
        metavar="T",
        help="temperature of the completion; 0 is greedy (default: 0)",
    )
    verb.add_argument("--written-by", metavar="STAGE", help="the stage that writes the completion (default: the last)")
    verb.add_argument(
        "--attractor", metavar="TEXT", help="follow this token (default: the last stage's most likely one)"
    )
    verb.add_argument(
        "--tuned-lens",
        metavar="auto|fit|none|DIR",
        default="auto",
        help="tuned lenses: beside the checkpoints, fitted now, none, or of fit-lens (default: auto)",
    )
    verb.set_defaults(call=run_compare)


def add_fit_lens(verb: argparse.ArgumentParser) -> None:
    """Options of `fit-lens`."""
    verb.add_argument("--out", metavar="DIR", required=True, help="where DIR/STAGE/tuned_lens.safetensors is written")
    verb.add_argument("--samples", type=int, default=4, metavar="N", help="completions sampled a prompt (default: 4)")
    verb.set_defaults(call=run_fit_lens)


def listed(value: str) -> str | list[str]:
    """One value, or several separated by commas."""
    return value.split(",") if "," in value else value


def sayer(quiet: bool) -> Callable[[str], None]:
    """Where lines about progress go: standard error where that is a terminal, else nowhere."""
    silent = quiet or not sys.stderr.isatty()
    return (lambda line: None) if silent else (lambda line: print(line, file=sys.stderr))


def run_compare(options: argparse.Namespace) -> None:
    """`mcinterp compare`."""
    from mcinterp.checkpoints import parse_chain
    from mcinterp.comparison import Question, compare
    from mcinterp.completions import Decoding

    specs = [options.base, options.tuned, *options.stages]
    names = [checkpoint.name for checkpoint in parse_chain(specs)]
    question = Question(
        stages=tuple(specs),
        prompts=options.prompts,
        template=options.template,
        positions=options.positions,
        decoding=Decoding(options.max_new_tokens, options.temperature, options.seed),
        written_by=options.written_by,
        attractor=options.attractor,
        tuned_lens=options.tuned_lens,
        device=listed(options.device),
        dtype=listed(options.dtype),
        seed=options.seed,
    )
    run = compare(question, options.out or f"runs/{names[0]}-{names[-1]}", say=sayer(options.quiet))
    if not options.quiet:
        print(headline(run.read("summary.json")))
        print(f"report: {run.path / 'report.html'}")


def headline(summary: dict) -> str:
    """Entropy by stage and the onset, in a few lines."""
    entropy, stages = summary["entropy"], summary["stages"]
    lines = [f"{name}: {said}" for name, said in differing(summary["alignment"]).items()]
    lines += [f"{name:<16} entropy {s['mean']:.3f} nats" for name, s in entropy.items() if name in stages]
    gap = entropy["difference"]
    ends = "" if gap["ci_low"] is None else f" [{gap['ci_low']:+.3f}, {gap['ci_high']:+.3f}]"
    where = f"at the last prompt position, {summary['n_prompts']} prompts"
    lines.append(f"{stages[-1]} minus {stages[0]}: {gap['mean']:+.3f} nats{ends} {where}")
    for lens, one in summary["onset"].items():
        found = one["missing_because"] or f"layer {one['layer']} {one['site']} (p = {one['p_value']:.3f})"
        lines.append(f"onset, {lens} lens: {found}")
    return "\n".join(lines)


def differing(alignment: dict) -> dict[str, str]:
    """The aligned properties that are not the same in all stages, with their values."""
    return {
        name: ", ".join(f"{stage} {value!r}" for stage, value in entry["values"].items())
        + (", cut to the common part" if entry["verdict"] == "cut" else "")
        for name, entry in alignment["properties"].items()
        if entry["verdict"] != "same"
    }


def run_fit_lens(options: argparse.Namespace) -> None:
    """`mcinterp fit-lens`."""
    from mcinterp.chain import load_chain
    from mcinterp.comparison import default_prompts
    from mcinterp.prompts import Prompts
    from mcinterp.tuned_lens import Fit, fit_chain

    given = Prompts.named(options.prompts) if options.prompts else None
    chain = load_chain(
        [options.base, options.tuned, *options.stages], device=listed(options.device), dtype=listed(options.dtype)
    )
    rendered = chain.render(given or default_prompts(chain, options.template), options.template)
    fitted = fit_chain(chain, rendered, options.out, Fit(samples=options.samples, seed=options.seed))
    for stage, lens in zip(chain.stages, fitted, strict=True):
        before, after = sum(lens.kl_before) / len(lens.kl_before), sum(lens.kl_after) / len(lens.kl_after)
        sayer(options.quiet)(f"{stage.name}: mean held-out KL(final || lens) {before:.3f} -> {after:.3f} nats")


def run_report(options: argparse.Namespace) -> None:
    """`mcinterp report`."""
    from mcinterp.run import Run
    from mcinterp.show.report import write_report

    print(write_report(Run.open(options.run)))


def run_figures(options: argparse.Namespace) -> None:
    """`mcinterp figures`."""
    from mcinterp.run import Run
    from mcinterp.show.gallery import write_figures

    for path in write_figures(Run.open(options.run), options.out):
        print(path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; 0 when it worked, 2 and one sentence on bad input."""
    options = parser().parse_args(arguments)
    if getattr(options, "quiet", False):
        os.environ["TQDM_DISABLE"] = "1"
    try:
        options.call(options)
    except InputError as error:
        print(f"mcinterp: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
