"""Features of texts: the base's own residual stream behind its last block, mean over a text that stands alone."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from mcinterp.batching import batches
from mcinterp.capture import Point, affordable_tokens, capture
from mcinterp.chain import Stage
from mcinterp.progress import Progress

Ids = Sequence[int]
ENCODER = "mean over the text's tokens of the base's last resid_post, the text standing alone"


def beginning(stage: Stage) -> tuple[int, ...]:
    """What stands before a text: what the tokenizer puts there itself, or else the token that ends texts.

    The first token of a sequence takes up attention that belongs nowhere and has an activation like no other, so that
    a text's own first token should not be it.
    """
    own = tuple(stage.tokenizer("").input_ids)
    end = stage.tokenizer.eos_token_id
    return own or (() if end is None else (int(end),))


def pooled_features(stage: Stage, texts: Sequence[Ids]) -> Float[np.ndarray, "text d_model"]:
    """The mean over a text's tokens of the residual stream behind the last block, the text standing alone.

    Without its prompt, so that the features of an output say nothing of the prompt but what the output says. What
    stands before the text is left out of the mean; missing where the text has no token.
    """
    first = beginning(stage)
    unique = list(dict.fromkeys(tuple(text) for text in texts if len(text)))
    rows = {text: row for row, text in enumerate(unique)}
    pooled = np.full((len(unique) + 1, int(stage.bridge.cfg.d_model)), np.nan)
    hook = Point(stage.n_layers - 1, "resid_post").hook
    sequences = [(*first, *text) for text in unique]
    listed = list(batches(sequences, max_tokens=affordable_tokens(stage, 1))) if unique else []
    for batch in Progress(listed, desc=f"{stage.name} encodes", unit="batch"):
        residual = capture(stage, batch, [hook])[hook].cpu().double()
        counted = batch.present[..., None].double()
        counted[:, : len(first)] = 0.0
        pooled[list(batch.indices)] = ((residual * counted).sum(dim=1) / counted.sum(dim=1)).numpy()
    return pooled[[rows.get(tuple(text), len(unique)) for text in texts]]
