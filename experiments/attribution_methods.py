"""Do the methods of attribution agree on where a stage's update acts?

An answer is a share of the change of the attractor's log-odds for every component, by every method. Methods of weights
(path integral, Shapley values, grafts) see every position; patches of activations here are of the last position, and of
all positions. Shares of single grafts and patches need not sum to one.

    python experiments/attribution_methods.py [BASE TUNED]     (about a minute on one core for the pocket pair)
"""

import sys

import pandas as pd
import xarray as xr

import mcinterp
from mcinterp.attribution.direct import direct_logit_attribution
from mcinterp.effects import effects
from mcinterp.parts import mean_parts
from mcinterp.weights.grafts import graft_sweep
from mcinterp.weights.shapley import graft_shapley
from mcinterp.weights.update import update_attribution

METRIC = "attractor_log_odds"
OF_SITE = {"attn_out": "attn", "mlp_out": "mlp"}


def run(pair: mcinterp.Chain, prompts: mcinterp.Prompts) -> pd.DataFrame:
    """Shares of the change over component (rows) and method (columns)."""
    rendered = pair.render(prompts)
    table = pd.DataFrame({"update": mean_parts(update_attribution(pair, rendered))["share"].isel(stage=0).to_series()})
    table["shapley"] = mean_parts(graft_shapley(pair, rendered, orders=4), "shapley")["share"].to_series()
    for direction, share in by_direction(graft_sweep(pair, rendered, metrics=[METRIC])):
        table[f"graft {direction}"] = share.to_series()
    for positions in ("last", "all"):
        patched = mcinterp.patch(
            pair, rendered, sites=tuple(OF_SITE), positions=positions, metrics=[METRIC], controls=False
        )
        for direction, share in by_direction(patched):
            table[f"patch {positions}, {direction}"] = of_components(share)
    written = direct_logit_attribution(pair, rendered, by="component", against="plausible")
    change = written["attribution"].isel(stage=1) - written["attribution"].isel(stage=0)
    table["written"] = (change.mean("prompt") / change.sum("component").mean("prompt")).to_series()
    return table


def by_direction(moved: xr.Dataset) -> list[tuple[str, xr.DataArray]]:
    """The share of the gap that every cell moves, direction by direction."""
    share = effects(moved, METRIC)["share"]
    return [(name, share.sel(direction=name, drop=True)) for name in share["direction"].values.tolist()]


def of_components(share: xr.DataArray) -> pd.Series:
    """Shares over site and layer under the names of components."""
    cells = share.to_series()
    return pd.Series({f"{layer}.{OF_SITE[site]}": value for (site, layer), value in cells.items()})


def main() -> None:
    """Print the table as Markdown."""
    base, tuned = sys.argv[1:3] if len(sys.argv) > 2 else ("pocket:base", "pocket:sft")
    table = run(mcinterp.load_pair(base, tuned), mcinterp.Prompts.battery("pocket"))
    print("| component | " + " | ".join(table.columns) + " |")
    print("|---|" + "---|" * table.shape[1])
    for name, row in table.iterrows():
        print(f"| {name} | " + " | ".join("" if pd.isna(value) else f"{value:.2f}" for value in row) + " |")


if __name__ == "__main__":
    main()
