"""`mcinterp attribute`."""

import argparse

from mcinterp.cli.options import add_run_options, asked, numbers, out_of, words
from mcinterp.cli.telling import how, tell


def add_attribute(verb: argparse.ArgumentParser) -> None:
    """Options of `attribute`."""
    add_run_options(verb)
    verb.add_argument(
        "--what",
        metavar="NAMES",
        help="some of logits, update, grafts, shapley, entropy_split, temperature, screen, heads, neurons, "
        "direction "
        "(default: logits,update,grafts,entropy_split,temperature)",
    )
    verb.add_argument(
        "--by",
        choices=["component", "head", "layer", "kind", "tensor"],
        default="component",
        help="groups of weights; logits by heads with head (default: component)",
    )
    verb.add_argument(
        "--metric",
        choices=["attractor_log_odds", "attractor_log_prob", "entropy", "kl_to_base", "kl_to_tuned"],
        default="attractor_log_odds",
        help="what update, shapley and screen follow (default: attractor_log_odds)",
    )
    verb.add_argument(
        "--against", default="plausible", metavar="mean|plausible", help="the logit's reference (default: plausible)"
    )
    verb.add_argument("--nodes", type=int, default=8, metavar="N", help="nodes of the path integral (default: 8)")
    verb.add_argument(
        "--neurons", type=int, default=0, metavar="N", help="MLP neurons told apart in logits (default: 0)"
    )
    verb.add_argument(
        "--orders", type=int, default=16, metavar="N", help="orders of grafting for shapley (default: 16)"
    )
    verb.add_argument("--layer", type=int, metavar="N", help="where the direction is taken (default: the middle)")
    verb.add_argument("--read-at", default="0", metavar="N,N", help="positions that are read, averaged (default: 0)")
    verb.add_argument(
        "--written-by", metavar="STAGE", help="the stage that writes what --read-at reads (default: last)"
    )
    verb.set_defaults(call=run_attribute)


def run_attribute(options: argparse.Namespace) -> None:
    """`mcinterp attribute`."""
    from mcinterp.jobs.analyses import DEFAULT, AttributeQuestion
    from mcinterp.jobs.attribution import attribute

    names = ("by", "metric", "against", "nodes", "neurons", "orders", "layer", "written_by")
    question = AttributeQuestion(
        **asked(options),
        what=words(options.what) or DEFAULT,
        read_at=numbers(options.read_at, "--read-at") or (0,),
        **{name: getattr(options, name) for name in names},
    )
    run = attribute(question, out_of(options), **how(options))
    tell(options, run)
