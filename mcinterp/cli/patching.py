"""`mcinterp patch`."""

import argparse
from typing import Any

from mcinterp.cli.options import add_run_options, asked, numbers, out_of, words
from mcinterp.cli.telling import how, tell
from mcinterp.errors import InputError

NAMED_POSITIONS = ("last", "each", "all", "template", "content")


def add_patch(verb: argparse.ArgumentParser) -> None:
    """Options of `patch`."""
    add_run_options(verb)
    verb.add_argument(
        "--sites",
        metavar="NAMES",
        default="resid_pre,attn_out,mlp_out",
        help="resid_pre, resid_mid, resid_post, attn_out, mlp_out, z, q, k, v, kv, pattern, mlp_post, final_scale; "
        "joined by + they are patched together (default: resid_pre,attn_out,mlp_out)",
    )
    verb.add_argument("--layers", metavar="N,N-N", help="layers (default: all)")
    verb.add_argument("--window", type=int, default=1, metavar="N", help="layers patched together (default: 1)")
    verb.add_argument(
        "--positions",
        default="last",
        metavar="WHERE",
        help="last, each, all, template, content, numbers (0 is the last prompt token; --positions=-3,0), or text "
        "inside the prompts (default: last)",
    )
    verb.add_argument("--each-position", action="store_true", help="patch the positions one at a time")
    verb.add_argument("--heads", metavar="each|N,N", help="patch heads of z, q, k, v or pattern one at a time")
    verb.add_argument("--neurons", metavar="N,N", help="patch only these neurons of mlp_post")
    verb.add_argument(
        "--directions",
        metavar="NAMES",
        default="base_to_tuned,tuned_to_base",
        help="DONOR_to_RECIPIENT, also with stage names (default: base_to_tuned,tuned_to_base)",
    )
    verb.add_argument(
        "--donor", choices=["same", "mean", "zero"], default="same", help="what is put in (default: the donor's own)"
    )
    verb.add_argument("--donor-prompts", metavar="FILE", help="the donor reads these prompts, each as long as its own")
    verb.add_argument("--metrics", metavar="NAMES", help="only these metrics (default: all)")
    verb.add_argument(
        "--read-at",
        default="0",
        metavar="N,N",
        help="positions whose next token is read, 0 after the prompt (default: 0)",
    )
    verb.add_argument(
        "--written-by", metavar="STAGE", help="the stage that writes what --read-at reads (default: last)"
    )
    verb.add_argument("--no-controls", dest="controls", action="store_false", help="leave the control donors out")
    verb.add_argument("--engine", choices=["auto", "fast", "plain"], default="auto", help="default: auto")
    verb.add_argument(
        "--verify", type=int, default=8, metavar="N", help="run N random cells the plain way too (default: 8)"
    )
    verb.add_argument("--batch-memory", type=float, default=1.0, metavar="GB", help="for hidden states (default: 1)")
    verb.add_argument("--generate", type=int, default=0, metavar="N", help="let the recipient write N tokens patched")
    verb.add_argument("--generate-prompts", type=int, default=8, metavar="N", help="after the first N (default: 8)")
    verb.add_argument("--temperature", type=float, default=0.0, metavar="T", help="of what is written (default: 0)")
    verb.set_defaults(call=run_patch)


def run_patch(options: argparse.Namespace) -> None:
    """`mcinterp patch`."""
    from mcinterp.jobs.patching import PatchQuestion, patch_checkpoints

    question = PatchQuestion(
        **asked(options),
        sites=tuple(joint(word) for word in words(options.sites) or ()),
        layers=numbers(options.layers, "--layers"),
        positions=position_choice(options.positions),
        heads="each" if options.heads == "each" else numbers(options.heads, "--heads"),
        neurons=numbers(options.neurons, "--neurons"),
        directions=words(options.directions) or (),
        metrics=words(options.metrics),
        read_at=numbers(options.read_at, "--read-at") or (0,),
        max_bytes=int(options.batch_memory * 2**30),
        **{name: getattr(options, name) for name in AS_GIVEN},
    )
    run = patch_checkpoints(question, out_of(options), **how(options))
    tell(options, run)


AS_GIVEN = (
    "window", "each_position", "donor", "donor_prompts", "written_by", "controls", "engine", "verify", "generate",
    "generate_prompts", "temperature",
)  # fmt: skip


def joint(word: str) -> str | tuple[str, ...]:
    """One site, or several joined by `+`."""
    return tuple(word.split("+")) if "+" in word else word


def position_choice(word: str) -> Any:
    """Positions by name or number, or else text inside the prompts."""
    if word in NAMED_POSITIONS:
        return word
    try:
        return numbers(word, "--positions")
    except InputError:
        return word
