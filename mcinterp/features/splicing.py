"""How well an autoencoder reconstructs a stage, and what its reconstruction does to the stage's predictions."""

from collections.abc import Sequence

import numpy as np
import torch

from mcinterp import divergence
from mcinterp.chain import Stage
from mcinterp.features.activations import all_rows
from mcinterp.features.autoencoder import SparseAutoencoder
from mcinterp.features.runs import changed_residuals
from mcinterp.statistics import mean_over_prompts

PROMPT_FIGURES = ("l0", "splice_kl", "splice_entropy_change", "squared_error", "squared_spread")


def quality_of(
    stage: Stage, ids: Sequence[Sequence[int]], columns: Sequence[Sequence[int]], sae: SparseAutoencoder
) -> dict[str, np.ndarray]:
    """By prompt: active features a token, squared error and spread, and what splicing the reconstruction in changes.

    `squared_spread` is the squared distance from the mean over all tokens. The splice is at the same tokens, and what
    changes is read behind each sequence's last token: KL(spliced || own) and the change of entropy, in nats.
    """
    rows = [each[list(c)] for each, c in zip(all_rows(stage, ids, sae.hook, sae.width), columns, strict=True)]
    middle = torch.cat(rows).mean(dim=0)
    found = np.zeros((len(PROMPT_FIGURES), len(ids)))
    for prompt, own in enumerate(rows):
        code = sae.read(own)
        own = own.to(code.reconstruction)
        kl, change = spliced(stage, ids[prompt], columns[prompt], sae)
        error = float((own - code.reconstruction).double().pow(2).sum())
        spread = float((own - middle.to(own)).double().pow(2).sum())
        found[:, prompt] = (float((code.activations > 0).sum(dim=-1).float().mean()), kl, change, error, spread)
    return dict(zip(PROMPT_FIGURES, found, strict=True))


@torch.inference_mode()
def spliced(stage: Stage, ids: Sequence[int], columns: Sequence[int], sae: SparseAutoencoder) -> tuple[float, float]:
    """KL(spliced || own) and the change of entropy of one prompt's next token, nats."""
    rows, same = changed_residuals(stage, ids, sae, columns, [None, lambda x: sae.decode(sae.encode(x), x)])
    if same[1]:
        return 0.0, 0.0
    own, other = stage.readout.log_probs(rows).double()
    return float(divergence.kl_divergence(other, own)), float(divergence.entropy(other) - divergence.entropy(own))


def explained_variance(sums: np.ndarray) -> np.ndarray:
    """1 - squared error / squared spread, of values over prompt and (error, spread, ...)."""
    error, spread = mean_over_prompts(sums)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(spread > 0, 1 - error / spread, np.nan)
