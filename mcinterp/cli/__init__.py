"""The command line: `mcinterp VERB BASE TUNED [STAGE...] [options]`."""

import argparse
import os
import sys
from collections.abc import Sequence

from mcinterp import __version__
from mcinterp.cli.attributing import add_attribute
from mcinterp.cli.behaving import add_behave
from mcinterp.cli.benching import add_bench
from mcinterp.cli.cataloguing import add_catalogue, with_stages
from mcinterp.cli.comparing import add_compare
from mcinterp.cli.lenses import add_fit_lens
from mcinterp.cli.locating import add_locate, add_uncollapse
from mcinterp.cli.options import Parser, question_parser
from mcinterp.cli.patching import add_patch
from mcinterp.cli.runs import add_figures, add_report, add_summary, add_verify
from mcinterp.errors import InputError
from mcinterp.progress import Progress

DESCRIPTION = """\
Where does mode collapse appear between a base language model and its tuned checkpoints?

  mcinterp VERB BASE TUNED [STAGE...] [options]     mcinterp VERB --help says what a verb takes
"""
EPILOG = """\
A checkpoint is a hub id (org/name or org/name@revision), a directory in Hugging Face format, a PEFT adapter directory
(or BASE+ADAPTER), or pocket:base, pocket:sft, pocket:rl, pocket:overoptimised; NAME=CHECKPOINT names the stage.
catalogue:NAME stands for a known base and all its stages, catalogue:NAME/STAGE for one (see mcinterp catalogue).

examples:
  mcinterp compare pocket:base pocket:sft pocket:rl
  mcinterp compare catalogue:smollm2-135m --template both
  mcinterp compare org/model org/model-instruct --template both --device cuda --dtype bfloat16
  mcinterp compare base=./ckpt/base sft=./ckpt/sft rl=./ckpt/rl --prompts my.jsonl --out runs/mine
  mcinterp patch pocket:base pocket:sft --sites z --heads each --out runs/heads
  mcinterp attribute pocket:base pocket:sft --what update,grafts --by head
  mcinterp locate pocket:base pocket:sft --prompts battery:pocket --out runs/where
"""
INTERRUPTED = 130
QUESTIONS = {
    "compare": (add_compare, "compare checkpoints layer by layer and write a report"),
    "patch": (add_patch, "put one checkpoint's activations into another's run, site by site"),
    "attribute": (add_attribute, "say which parts write the attractor, and which part of the update made it"),
    "locate": (add_locate, "say where the collapse is, and verify the answer by intervention"),
    "behave": (add_behave, "measure what the stages write, experiment by experiment"),
    "fit-lens": (add_fit_lens, "fit a tuned lens for every stage"),
}
OTHERS = {
    "uncollapse": (add_uncollapse, "save the tuned checkpoint with the base's weights at some sites"),
    "catalogue": (add_catalogue, "list real pairs and chains by hub id, and say what one needs"),
    "bench": (add_bench, "measure methods on planted checkpoints"),
    "report": (add_report, "write the report of a run again, or of several side by side"),
    "summary": (add_summary, "say in the terminal what a run found"),
    "figures": (add_figures, "write the pictures of a run as SVG and PNG"),
    "verify": (add_verify, "check that every file of a run is as it was written"),
}


def parser() -> Parser:
    """All verbs."""
    top = Parser(
        prog="mcinterp", description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    top.add_argument("--version", action="version", version=f"mcinterp {__version__}")
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True, parser_class=Parser)
    shared = question_parser()
    for name, (add, said) in QUESTIONS.items():
        add(verbs.add_parser(name, parents=[shared], help=said))
    for name, (add, said) in OTHERS.items():
        add(verbs.add_parser(name, help=said))
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; 0 when it worked, 2 and one sentence on bad input, 130 and one when interrupted (Ctrl-C)."""
    try:
        options = parser().parse_args(with_stages(sys.argv[1:] if arguments is None else arguments))
    except InputError as error:
        return refused(error)
    Progress.silent = getattr(options, "quiet", False)
    if Progress.silent:
        os.environ["TQDM_DISABLE"] = "1"
    try:
        options.call(options)
        sys.stdout.flush()
    except InputError as error:
        return refused(error)
    except KeyboardInterrupt:
        print("mcinterp: interrupted; a run goes on with the same command and --resume.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # whoever read our lines wants no more of them
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def refused(error: InputError) -> int:
    """Say what was wrong in one sentence; the exit status."""
    print(f"mcinterp: {error}", file=sys.stderr)
    return 2
