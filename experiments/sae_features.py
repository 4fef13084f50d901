"""Which features of a sparse autoencoder carry the difference between two stages, and how much of the collapse?

An answer is, for half of the prompts, a ranking of features by what patching each is expected to do; and for the other
half, how much of the gap in the attractor's log-odds the first 1, 2, 4, ... of them move together, beside as many other
active features, a random step as long, and the plain patch of the whole place; read with what the autoencoder explains
of each stage, and with what of the difference is in no feature. The same with halves that share no template says
whether the features are the collapse's, or those of single attractors.

    python experiments/sae_features.py [BASE TUNED] [--sae FOLDER] [--prompts FILE] [--out DIR]     (about two minutes)
    python experiments/sae_features.py [BASE TUNED] --train --saelens-python PATH [--texts FILE] [--site S] [--layer L]

Without arguments it is the pocket pair with the autoencoder that ships. With `--train` activations of both stages are
exported, SAELens trains on them in its own environment (`saelens/train.py`; one autoencoder on both stages, one on the
base alone), and both are compared (about twenty minutes on one core); what DIR holds of that already is kept.
"""

import argparse
import random
import subprocess
from pathlib import Path
from typing import Any

import xarray as xr

import mcinterp
from mcinterp.features.curve import feature_curve
from mcinterp.organisms.pocket import grammar_of
from mcinterp.organisms.tokenizer import END_ID
from mcinterp.results import write_json
from mcinterp.show.feature_figures import sae_features
from mcinterp.show.saving import save_still

HERE = Path(__file__).parent
TRAINER = HERE / "saelens" / "train.py"
METRIC = "attractor_log_odds"
SIZES = (0, 1, 2, 4, 8, 16, 32, 64, 128)
DOCUMENTS = 4000
TRAINING = ("--architecture", "topk", "--features", "512", "--k", "32", "--tokens", "3000000")
QUALITY = ("explained_variance", "l0", "splice_kl", "splice_entropy_change", "error_share", "difference_norm")


def run(
    pair: mcinterp.Chain, prompts: mcinterp.Prompts, sae: mcinterp.SparseAutoencoder, by: str
) -> tuple[xr.Dataset, xr.Dataset]:
    """Features compared on half of the prompts, and patches along them on the other half.

    The halves are every other prompt (`prompt`, each template in both) or every other template (`template`).
    """
    templates = list(dict.fromkeys(prompt.template for prompt in prompts.items))
    place = [i if by == "prompt" else templates.index(p.template) for i, p in enumerate(prompts.items)]
    ranked_on, patched_on = (prompts.select([i for i, at in enumerate(place) if at % 2 == half]) for half in (0, 1))
    compared = mcinterp.compare_features(pair, ranked_on, sae, skip=1, top=12)
    return compared, mcinterp.patch_features(pair, patched_on, sae, features=compared, sizes=SIZES)


def numbers(compared: xr.Dataset, patched: xr.Dataset) -> dict[str, Any]:
    """What is said of an autoencoder, as plain numbers."""
    curve = feature_curve(patched, METRIC)
    stages = {
        str(stage): {name: float(compared[name].sel(stage=stage)) for name in QUALITY}
        for stage in compared["stage"].values
    }
    found: dict[str, Any] = {"said": compared.attrs["reconstruction"], "stages": stages, "directions": {}}
    for way in curve["direction"].values.tolist():
        here = curve.sel(direction=way)
        sets = here[["share", "share_low", "share_high", "site_share", "random_features", "random_direction"]]
        found["directions"][way] = {
            "gap_nats": float(here["gap"]),
            "whole": {str(each): float(here["whole_share"].sel(whole=each)) for each in here["whole"].values},
            "sets": sets.to_dataframe().reset_index()[["size", *sets.data_vars]].to_dict("records"),
            "first_features": patched["feature_rank"].sel(direction=way).values[:12].tolist(),
        }
    found["noise_floor_nats"] = max(float(each.attrs["noise_floor"]) for each in (compared, patched))
    found["patched_prompts"] = patched.sizes["prompt"]
    return found


def trained(pair: mcinterp.Chain, asked: argparse.Namespace) -> dict[str, str]:
    """Autoencoders that SAELens trains on both stages and on the base alone, by name."""
    folder = Path(asked.out) / "activations"
    if not (folder / "activations.json").exists():
        layer = 4 if asked.layer is None else asked.layer
        mcinterp.export_activations(pair, documents(pair, asked.texts), asked.site, layer, folder, skip=1)
    found = {"both stages": f"{asked.out}/sae", "base alone": f"{asked.out}/sae-base"}
    for name, out in found.items():
        stages = ("--stages", pair.base.name) if name == "base alone" else ()
        if not (Path(out) / "trained.json").exists():
            subprocess.run([asked.saelens_python, str(TRAINER), str(folder), out, *TRAINING, *stages], check=True)
    return found


def documents(pair: mcinterp.Chain, texts: str | None) -> list[tuple[int, ...]]:
    """Token ids to train on: the lines of a file, or documents of the pocket checkpoints' own grammar."""
    if texts is not None:
        lines = Path(texts).read_text(encoding="utf-8").splitlines()
        ids = [pair.base.tokenizer(line).input_ids[: pair.alignment.context] for line in lines if line.strip()]
        return [tuple(each) for each in ids]
    grammar, draw = grammar_of(pair.base.tokenizer), random.Random(0)
    return [(END_ID, *grammar.sample(draw)) for _ in range(DOCUMENTS)]


def main() -> None:
    """Compare, patch, and write numbers and picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="*", default=["pocket:base", "pocket:sft"])
    parser.add_argument("--sae", default="pocket:sae")
    parser.add_argument("--prompts", default="battery:pocket")
    parser.add_argument("--out", default="runs/sae_features")
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--saelens-python", default=None)
    parser.add_argument("--texts", default=None)
    parser.add_argument("--site", default="resid_post")
    parser.add_argument("--layer", type=int, default=None)
    asked = parser.parse_args()
    if asked.train and asked.saelens_python is None:
        parser.error("--train wants --saelens-python: the Python of an environment with SAELens.")
    pair = mcinterp.load_pair(*asked.checkpoints)
    prompts = mcinterp.Prompts.named(asked.prompts)
    Path(asked.out).mkdir(parents=True, exist_ok=True)
    folders = trained(pair, asked) if asked.train else {"shipped" if asked.sae == "pocket:sae" else "given": asked.sae}
    record: dict[str, Any] = {"command": "python experiments/sae_features.py" + (" --train" if asked.train else "")}
    for name, folder in folders.items():
        record[name] = {}
        for by in ("template", "prompt"):
            compared, patched = run(pair, prompts, mcinterp.load_sae(folder), by)
            record[name][f"halves by {by}"] = numbers(compared, patched)
            print(f"{name}, halves by {by}: {compared.attrs['reconstruction']}")
            if name != "base alone" and by == "prompt":
                save_still(sae_features(compared, patched), Path(asked.out), "sae_features")
    write_json(Path(asked.out) / "sae_features.json", record)


if __name__ == "__main__":
    main()
