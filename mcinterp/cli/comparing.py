"""`mcinterp compare`."""

import argparse

from mcinterp.cli.options import add_run_options, asked, out_of, words
from mcinterp.cli.telling import how, tell


def add_compare(verb: argparse.ArgumentParser) -> None:
    """Options of `compare`."""
    add_run_options(verb)
    verb.add_argument(
        "--only",
        metavar="NAMES",
        help="only these analyses, of lens, attractors, patch, logits, update, locate (default: all)",
    )
    verb.add_argument(
        "--positions",
        choices=["last", "prompt", "completion", "all"],
        default="all",
        help="which positions the lenses read (default: all)",
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
        "--tuned-lens",
        metavar="auto|fit|none|DIR",
        default="auto",
        help="tuned lenses: beside the checkpoints, fitted now, none, or of fit-lens (default: auto)",
    )
    verb.set_defaults(call=run_compare)


def run_compare(options: argparse.Namespace) -> None:
    """`mcinterp compare`."""
    from mcinterp.completions import Decoding
    from mcinterp.jobs.comparison import ANALYSES, CompareQuestion, compare

    question = CompareQuestion(
        **asked(options),
        only=words(options.only) or ANALYSES,
        positions=options.positions,
        decoding=Decoding(options.max_new_tokens, options.temperature, options.seed),
        written_by=options.written_by,
        tuned_lens=options.tuned_lens,
    )
    run = compare(question, out_of(options), **how(options))
    tell(options, run)
