"""`mcinterp behave`."""

import argparse

from mcinterp.cli.options import add_run_options, asked, out_of, words
from mcinterp.cli.telling import how, tell


def add_behave(verb: argparse.ArgumentParser) -> None:
    """Options of `behave`."""
    add_run_options(verb)
    verb.add_argument(
        "--battery",
        metavar="NAMES",
        help="only these experiments, each on the battery of prompts of its name (default: all; an unknown name lists "
        "them)",
    )
    verb.set_defaults(call=run_behave)


def run_behave(options: argparse.Namespace) -> None:
    """`mcinterp behave`."""
    from mcinterp.jobs.behaving import EXPERIMENTS, BehaveQuestion, behave

    question = BehaveQuestion(**asked(options), battery=words(options.battery) or tuple(EXPERIMENTS))
    run = behave(question, out_of(options), **how(options))
    tell(options, run)
