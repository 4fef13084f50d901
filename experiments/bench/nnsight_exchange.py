"""Patches a pair in nnsight, with activations from a file and its own: `python -m bench.nnsight_exchange FOLDER`.

The folder holds `request.json` (the donor's and recipient's directories, token ids, cells, a token) and
`donor.safetensors` (activations `SITE.LAYER` that another library took of the donor); `given.json` and `own.json` (the
scores of every cell) and `nnsight.safetensors` (the activations that nnsight took itself) are written beside them.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from bench.nnsight_loop import NnsightLoop
from bench.workloads import Cell


def exchange(folder: Path) -> None:
    """Answer the request of a folder."""
    asked = json.loads((folder / "request.json").read_text())
    pair = NnsightLoop(asked["donor"], asked["recipient"])
    cells = [Cell(site, layer, None, None) for site, layer in asked["cells"]]
    given = load_file(folder / "donor.safetensors")
    own = pair.donor([asked["ids"]], cells)
    donors = {"given": {(c.layer, c.site): given[f"{c.site}.{c.layer}"] for c in cells}, "own": own}
    for name, donor in donors.items():
        scores = pair.patch(donor, [asked["ids"]], cells, asked["token"], "sequential")
        (folder / f"{name}.json").write_text(json.dumps([score[0] for score in scores]))
    kept = {f"{site}.{layer}": value.detach().clone().contiguous() for (layer, site), value in own.items()}
    save_file(kept, folder / "nnsight.safetensors")


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    torch.set_num_threads(1)
    exchange(Path(sys.argv[1]))
