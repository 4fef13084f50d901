"""Is it the weights or the chat template that collapses?

An answer is both main effects and their interaction for entropy, divergence and different samples, with 95 % intervals
over templates, and the share of the gap between base and stage that the key-values of the template's positions alone
carry, beside those of the content and of all positions.

    python experiments/template_effect.py [BASE TUNED [STAGE...]]     (a minute and a half for the pocket chain)
"""

import sys
from pathlib import Path

import xarray as xr

import mcinterp
from mcinterp.behaviour.template_effect import template_effect, template_keys
from mcinterp.results import save
from mcinterp.show.behaviour.template_effect import picture
from mcinterp.summary.behaviour.template_effect import EFFECTS, summary

POCKET = ("pocket:base", "pocket:sft", "pocket:rl", "pocket:overoptimised")
OUT = Path("runs/template_effect")


def run(chain: mcinterp.Chain, prompts: mcinterp.Prompts) -> xr.Dataset:
    """Cells of the design and patched key-values in one dataset."""
    parts = [template_effect(chain, prompts), template_keys(chain, prompts)]
    return xr.merge(parts, combine_attrs="override", compat="override", join="exact")


def main() -> None:
    """Print the effects, and write the dataset and the picture."""
    specs = sys.argv[1:] or POCKET
    battery = "template_effect" if sys.argv[1:] else "template_effect-pocket"
    found = run(mcinterp.load_chain(specs), mcinterp.Prompts.battery(battery))
    OUT.mkdir(parents=True, exist_ok=True)
    save(found, OUT / "template_effect.nc")
    for kind in ("png", "svg"):
        picture(found).save(OUT / f"template_effect.{kind}", **({"ppi": 150} if kind == "png" else {}))
    figures = summary(found)
    for stage, one in figures["effects"]["entropy"].items():
        said = [f"{e} {one[e]['mean']:+.2f} [{one[e]['ci_low']:+.2f}, {one[e]['ci_high']:+.2f}]" for e in EFFECTS]
        print(f"entropy of {stage}: " + ", ".join(said))
    for direction, one in figures["keys"]["entropy"].items():
        said = [f"{where} {each['share']['mean']:.2f}" for where, each in one.items()]
        print(f"key-values, {direction}, share of the entropy gap: " + ", ".join(said))


if __name__ == "__main__":
    main()
