"""`mcinterp fit-lens`."""

import argparse

from mcinterp.cli.options import listed, sayer


def add_fit_lens(verb: argparse.ArgumentParser) -> None:
    """Options of `fit-lens`."""
    verb.add_argument("--out", metavar="DIR", required=True, help="where DIR/STAGE/tuned_lens.safetensors is written")
    verb.add_argument("--samples", type=int, default=4, metavar="N", help="completions sampled a prompt (default: 4)")
    verb.set_defaults(call=run_fit_lens)


def run_fit_lens(options: argparse.Namespace) -> None:
    """`mcinterp fit-lens`."""
    from mcinterp.chain import load_chain
    from mcinterp.jobs.question import default_prompts
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
        sayer(options)(f"{stage.name}: mean held-out KL(final || lens) {before:.3f} -> {after:.3f} nats")
