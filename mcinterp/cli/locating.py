"""`mcinterp locate` and `mcinterp uncollapse`."""

import argparse

from mcinterp.cli.options import add_run_options, asked, out_of, words
from mcinterp.cli.telling import how, tell


def add_locate(verb: argparse.ArgumentParser) -> None:
    """Options of `locate`."""
    add_run_options(verb)
    verb.add_argument(
        "--at",
        choices=["auto", "last", "divergence", "sequence"],
        default="auto",
        help="where the collapse is read: the last prompt position, the first large loss of entropy along the "
        "completion, or its first positions together (default: auto, which says what it took)",
    )
    verb.add_argument("--heads", action="store_true", help="score every attention head too")
    verb.add_argument("--positions", action="store_true", help="patch the named sites at one position at a time")
    verb.add_argument(
        "--held-out",
        default="split",
        metavar="FILE|battery:NAME|split|none",
        help="prompts on which the verification is repeated (default: split, every fourth template)",
    )
    verb.add_argument(
        "--controls",
        default="auto",
        metavar="FILE|battery:NAME|none",
        help="prompts whose behaviour tuning must keep (default: copying, counting and format for pocket checkpoints)",
    )
    verb.add_argument("--no-verify", action="store_true", help="leave out the verification by intervention")
    verb.set_defaults(call=run_locate)


def run_locate(options: argparse.Namespace) -> None:
    """`mcinterp locate`."""
    from mcinterp.jobs.locating import LocateQuestion, locate_collapse

    question = LocateQuestion(
        **asked(options),
        at=options.at,
        heads=options.heads,
        positions=options.positions,
        held_out=options.held_out,
        controls=options.controls,
        verification=not options.no_verify,
    )
    run = locate_collapse(question, out_of(options), **how(options))
    tell(options, run)


def add_uncollapse(verb: argparse.ArgumentParser) -> None:
    """Options of `uncollapse`."""
    verb.add_argument("base", metavar="BASE", help="the base checkpoint")
    verb.add_argument("tuned", metavar="TUNED", help="the checkpoint tuned from it")
    verb.add_argument("--sites", required=True, metavar="NAMES", help="what gets the base's weights: 3.mlp,unembed")
    verb.add_argument(
        "--by", choices=["component", "head", "layer", "kind"], default="component", help="what they name"
    )
    verb.add_argument("--out", required=True, metavar="DIR", help="where the checkpoint is saved")
    verb.set_defaults(call=run_uncollapse)


def run_uncollapse(options: argparse.Namespace) -> None:
    """`mcinterp uncollapse`."""
    from mcinterp.chain import load_pair
    from mcinterp.verification.merging import uncollapse

    sites = list(words(options.sites) or ())
    path = uncollapse(load_pair(options.base, options.tuned), sites, options.out, by=options.by)
    print(f"checkpoint: {path}")
