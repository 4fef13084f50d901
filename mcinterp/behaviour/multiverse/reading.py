"""What all stages say next after the prefixes of a frontier, over key-value caches that are kept while small."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int

from mcinterp.batching import pad
from mcinterp.budget import allowed
from mcinterp.capture import final_residuals
from mcinterp.chain import Chain, Stage
from mcinterp.completions import CACHE_BYTES

LOGIT_BYTES = 256 * 2**20
Caches = tuple[Any, ...]
Rows = Int[torch.Tensor, "row"]


@dataclass(frozen=True)
class Block:
    """Some prefixes of a frontier: `rows` of its level, their tokens padded on the left, and every stage's cache.

    Without caches the prefixes are read whole.
    """

    rows: Rows
    tokens: Int[torch.Tensor, "row column"]
    attention: Int[torch.Tensor, "row column"]
    caches: Caches | None = None

    def extended(self, chosen: Rows, written: Rows, rows: Rows, caches: Caches | None) -> "Block":
        """The block one token on: chosen rows of it, the token written after each, and their rows of the next level."""
        return Block(
            rows,
            torch.cat([self.tokens[chosen], written[:, None]], dim=1),
            torch.cat([self.attention[chosen], torch.ones_like(written[:, None])], dim=1),
            None if caches is None else tuple(rows_of(cache, chosen) for cache in caches),
        )


def first_blocks(chain: Chain, prompts: Sequence[Sequence[int]], chosen: Sequence[int]) -> list[Block]:
    """Some of the prompts as blocks, without caches; their rows are their indices."""
    size = rows_at_once(chain)
    parts = [list(chosen[start : start + size]) for start in range(0, len(chosen), size)]
    padded = [pad([prompts[index] for index in part], side="left") for part in parts]
    return [Block(torch.tensor(part), batch.tokens, batch.attention) for part, batch in zip(parts, padded, strict=True)]


def rows_at_once(chain: Chain) -> int:
    """How many prefixes are read together: their float32 log-probabilities under all stages fit in `LOGIT_BYTES`."""
    return max(1, LOGIT_BYTES // (4 * len(chain.stages) * chain.alignment.vocabulary))


def affordable(chain: Chain, rows: int, columns: int) -> bool:
    """Whether keys and values of that many prefixes of all stages fit in `CACHE_BYTES`."""
    return rows * columns * sum(map(bytes_a_token, chain.stages)) <= allowed(CACHE_BYTES)


def bytes_a_token(stage: Stage) -> int:
    """Bytes of one token's keys and values."""
    config = stage.bridge.cfg
    heads = config.n_key_value_heads or config.n_heads
    return 2 * stage.n_layers * heads * config.d_head * torch.finfo(stage.dtype).bits // 8


def read(chain: Chain, block: Block) -> tuple[list[Float[torch.Tensor, "row vocabulary"]], Caches]:
    """Every stage's log-probabilities of the next token (float32, on the CPU), and the caches behind it."""
    entering = block.tokens if block.caches is None else block.tokens[:, -1:]
    before = block.caches or (None,) * len(chain.stages)
    found = [read_stage(stage, entering, block, cache) for stage, cache in zip(chain.stages, before, strict=True)]
    return [log_probs for log_probs, _ in found], tuple(cache for _, cache in found)


@torch.inference_mode()
def read_stage(
    stage: Stage, entering: Int[torch.Tensor, "row column"], block: Block, cache: Any
) -> tuple[Float[torch.Tensor, "row vocabulary"], Any]:
    """One stage's next-token distributions by its own readout, which is in float32 whatever the checkpoint's dtype."""
    residual, after = final_residuals(stage, entering, block.attention, cache)
    return stage.readout.log_probs(residual[:, -1]).cpu(), after


def rows_of(cache: Any, chosen: Rows) -> Any:
    """Chosen rows of a cache, some maybe more than once, in one of their own; the given one stays as it is."""
    found = copy.copy(cache)
    found.layers = [copy.copy(layer) for layer in cache.layers]
    found.batch_select_indices(chosen.to(found.layers[0].keys.device))
    return found
