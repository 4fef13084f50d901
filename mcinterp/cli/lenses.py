"""`mcinterp fit-lens`."""

import argparse

from mcinterp.cli.options import checkpoints_and_prompts, sayer


def add_fit_lens(verb: argparse.ArgumentParser) -> None:
    """Options of `fit-lens`."""
    verb.add_argument("--out", metavar="DIR", required=True, help="where DIR/STAGE/tuned_lens.safetensors is written")
    verb.add_argument("--samples", type=int, default=4, metavar="N", help="completions sampled a prompt (default: 4)")
    verb.set_defaults(call=run_fit_lens)


def run_fit_lens(options: argparse.Namespace) -> None:
    """`mcinterp fit-lens`."""
    from mcinterp.jobs.question import Question, ask
    from mcinterp.tuned_lens import Fit, fit_chain

    asked = ask(Question(**checkpoints_and_prompts(options)), say=sayer(options))
    fitted = fit_chain(asked.chain, asked.rendered, options.out, Fit(samples=options.samples, seed=options.seed))
    for stage, lens in zip(asked.chain.stages, fitted, strict=True):
        before, after = sum(lens.kl_before) / len(lens.kl_before), sum(lens.kl_after) / len(lens.kl_after)
        sayer(options)(f"{stage.name}: mean held-out KL(final || lens) {before:.3f} -> {after:.3f} nats")
