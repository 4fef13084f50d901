"""Which contexts collapse, can the base alone tell, and what put before a prompt avoids it?

An answer is the entropy that a stage has lost after prompts of every genre, the share of its variation that predictors
of the base alone explain on templates left out of the fit (R2 and Spearman, with 95 % intervals over templates), the
gap behind diverse precedents beside repeated ones, what the number of a rater says of the answer, and the longest span
that samples copy from the prompt, beside another prompt's.

    python experiments/contexts.py [BASE TUNED [STAGE...]]     (a minute and a half on two cores for the pocket chain)
"""

import sys
from pathlib import Path

import xarray as xr

import mcinterp
from mcinterp.behaviour.contexts import contexts
from mcinterp.behaviour.contexts_precedent import precedent, raters
from mcinterp.behaviour.contexts_prediction import predict_gap
from mcinterp.results import save
from mcinterp.show.behaviour.contexts import picture
from mcinterp.summary.behaviour.contexts import summary

POCKET = ("pocket:base", "pocket:sft", "pocket:rl", "pocket:overoptimised")
OUT = Path("runs/contexts")


def run(chain: mcinterp.Chain, prompts: mcinterp.Prompts) -> xr.Dataset:
    """Gaps with predictions, precedents and raters in one dataset."""
    parts = [predict_gap(contexts(chain, prompts)), precedent(chain, prompts), raters(chain, prompts)]
    return xr.merge(parts, combine_attrs="override", compat="override", join="exact")


def main() -> None:
    """Print the headline, and write the dataset and the picture."""
    specs = sys.argv[1:] or POCKET
    battery = "contexts" if sys.argv[1:] else "contexts-pocket"
    found = run(mcinterp.load_chain(specs), mcinterp.Prompts.battery(battery))
    OUT.mkdir(parents=True, exist_ok=True)
    save(found, OUT / "contexts.nc")
    for kind in ("png", "svg"):
        picture(found).save(OUT / f"contexts.{kind}", **({"ppi": 150} if kind == "png" else {}))
    for stage, figures in list(summary(found).items())[1:]:
        gap, best = figures["context_gap"], figures["prediction"]["all but entropy"]
        print(
            f"{stage}: loses {gap['mean']:.2f} nats [{gap['ci_low']:.2f}, {gap['ci_high']:.2f}]; without the base's "
            f"entropy R2 {best['r2']['mean']:.2f} [{best['r2']['ci_low']:.2f}, {best['r2']['ci_high']:.2f}], "
            f"Spearman {best['spearman']['mean']:.2f}; with it {figures['prediction']['all']['r2']['mean']:.2f}"
        )


if __name__ == "__main__":
    main()
