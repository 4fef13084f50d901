"""Do mcinterp and nnsight say the same when they patch the same pair, and can they exchange activations?

An answer is the largest difference in nats, over all layers and sites of one prompt in both directions, between
`mcinterp.patch` and nnsight: with activations that TransformerLens took and a safetensors file carried over; with
nnsight's own; and of hooks in TransformerLens that put nnsight's activations in. nnsight runs in an environment of its
own (`.bench/nnsight`, made on first use, by pip).

    python experiments/with_nnsight.py     (about a minute on one core once the environment is there)
"""

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench.processes import environment, surroundings
from safetensors.torch import load_file, save_file

import mcinterp
from mcinterp.intervene.sites import hook_name
from mcinterp.organisms import pocket_path

REPOSITORY = Path(__file__).resolve().parent.parent
PROMPT = "Pick a random number from 0 to 100:"
SITES = ("resid_pre", "attn_out", "mlp_out")
NAMES = ("base", "sft")


def run(prompt: str = PROMPT, environments: Path = REPOSITORY / ".bench") -> dict[str, dict[str, float]]:
    """Largest differences by direction and by what was exchanged."""
    pair = mcinterp.load_pair("pocket:base", "pocket:sft")
    rendered = pair.render(mcinterp.Prompts.from_texts([prompt]))
    swept = mcinterp.patch(pair, rendered, sites=SITES, controls=False, interaction=False)
    found = {}
    for number, way in enumerate(swept["direction"].values.tolist()):
        ends = NAMES if way == "base_to_tuned" else NAMES[::-1]
        cells = swept.isel(prompt=0, direction=number)
        found[way] = differences(pair, ends, list(rendered.token_ids[0]), cells, environments)
    return found


def differences(
    pair: mcinterp.Chain, ends: tuple[str, ...], ids: list[int], swept: Any, environments: Path
) -> dict[str, float]:
    """How far the numbers of one direction are apart, by what was exchanged."""
    token, tokens = int(swept["attractor"]), torch.tensor([ids])
    donor, recipient = (pair.stage(end).bridge for end in ends)
    cells = [(site, layer) for site in SITES for layer in range(pair.base.n_layers)]
    with tempfile.TemporaryDirectory() as place, torch.no_grad():
        folder = Path(place)
        cache = donor.run_with_cache(tokens)[1]
        save_file({f"{s}.{n}": cache[hook_name(s, n)].contiguous() for s, n in cells}, folder / "donor.safetensors")
        theirs = ask(folder, environments, ends, ids, token, cells)
        taken = {hook_name(*place_of(key)): value for key, value in load_file(folder / "nnsight.safetensors").items()}
        hooked = [read(recipient, tokens, mcinterp.patch_hooks(taken, *cell), token) for cell in cells]
    ours = np.asarray([float(swept["attractor_log_prob"].sel(site=site, layer=layer)) for site, layer in cells])
    return {
        "nnsight with TransformerLens' activations": largest(ours, theirs["given"]),
        "nnsight with its own": largest(ours, theirs["own"]),
        "TransformerLens with nnsight's activations": largest(ours, hooked),
    }


def ask(
    folder: Path, environments: Path, ends: tuple[str, ...], ids: list[int], token: int, cells: list[tuple[str, int]]
) -> dict[str, list[float]]:
    """Let nnsight patch the pair; log-probabilities of the token by whose activations were put in."""
    places = [str(pocket_path(end)) for end in ends]
    request = {"donor": places[0], "recipient": places[1], "ids": ids, "token": token, "cells": cells}
    (folder / "request.json").write_text(json.dumps(request))
    python = environment("nnsight", environments)
    subprocess.run([str(python), "-m", "bench.nnsight_exchange", str(folder)], check=True, env=surroundings(1))
    answers = {name: json.loads((folder / f"{name}.json").read_text()) for name in ("given", "own")}
    return {name: [log_prob for log_prob, _ in scores] for name, scores in answers.items()}


def place_of(key: str) -> tuple[str, int]:
    """Site and layer of an exchanged activation, by its name in the file."""
    site, layer = key.split(".")
    return site, int(layer)


def read(bridge: Any, tokens: torch.Tensor, hooks: Any, token: int) -> float:
    """The log-probability of a token after a run under hooks."""
    return float(torch.log_softmax(bridge.run_with_hooks(tokens, fwd_hooks=hooks)[0, -1].float(), dim=-1)[token])


def largest(ours: np.ndarray, theirs: list[float]) -> float:
    """The largest difference of two lists of numbers."""
    return float(np.abs(ours - np.asarray(theirs)).max())


if __name__ == "__main__":
    for way, by_exchange in run().items():
        for exchanged, difference in by_exchange.items():
            print(f"{way}, {exchanged}: largest difference to mcinterp.patch {difference:.1e} nats")
