"""Prompts with a completion behind them, teacher-forced through every stage.

Positions count from the last prompt token: it is position 0 and predicts the first completion token; earlier prompt
tokens are negative, completion tokens positive. So prompts of any length line up where the answer begins.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int

from mcinterp.chain import Chain
from mcinterp.completions import Decoding, complete
from mcinterp.errors import InputError
from mcinterp.prompts import Prompts
from mcinterp.rendering import RenderedPrompts, token_strings

PositionSet = Literal["last", "prompt", "completion", "all"]
PromptsGiven = RenderedPrompts | Prompts | Sequence[str]


@dataclass(frozen=True)
class Sequences:
    """Rendered prompts and what was written after each; `written_by` says by which stage and how."""

    prompts: RenderedPrompts
    completions: tuple[tuple[int, ...], ...]
    completion_tokens: tuple[tuple[str, ...], ...]
    written_by: str

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def ids(self) -> list[tuple[int, ...]]:
        """Prompt and completion of each sequence."""
        return [(*p, *c) for p, c in zip(self.prompts.token_ids, self.completions, strict=True)]

    @property
    def tokens(self) -> list[tuple[str, ...]]:
        """The same as strings."""
        return [(*p, *c) for p, c in zip(self.prompts.tokens, self.completion_tokens, strict=True)]

    @property
    def hash(self) -> str:
        """SHA-256 of all token ids: results of other tokens are other results."""
        return hashlib.sha256(repr(self.ids).encode()).hexdigest()

    @property
    def positions(self) -> Int[np.ndarray, "position"]:
        """All positions that any sequence has."""
        return np.arange(1 - self.prompts.longest, 1 + max(len(c) for c in self.completions))

    def relative(self, index: int) -> Int[np.ndarray, "column"]:
        """The position of each token of one sequence."""
        length = len(self.prompts.token_ids[index])
        return np.arange(1 - length, 1 + len(self.completions[index]))

    def wanted(self, index: int, positions: PositionSet) -> Bool[np.ndarray, "column"]:
        """Which tokens of one sequence belong to a set of positions."""
        relative = self.relative(index)
        return {
            "last": relative == 0,
            "prompt": relative <= 0,
            "completion": relative >= 0,
            "all": relative == relative,
        }[positions]


def rendered_prompts(chain: Chain, prompts: PromptsGiven) -> RenderedPrompts:
    """Prompts as tokens of the chain; `InputError` where there is none."""
    if isinstance(prompts, RenderedPrompts):
        return prompts
    given = prompts if isinstance(prompts, Prompts) else Prompts.from_texts(prompts)
    rendered = chain.render(given)
    if not len(rendered):
        raise InputError("no prompt was given; give at least one.")
    return rendered


def teacher_force(
    chain: Chain, prompts: PromptsGiven, decoding: Decoding = Decoding(), *, by: str | None = None
) -> Sequences:
    """The prompts with the completion that one stage writes (the tuned one's unless named), cut at the context.

    What a stage writes favours that stage: read along another stage's completion too before saying which is surer.
    """
    prompts, stage = rendered_prompts(chain, prompts), chain.tuned if by is None else chain.stage(by)
    written = complete(stage, prompts.token_ids, decoding, context=chain.alignment.context)
    how = "greedy" if decoding.temperature == 0 else f"temperature {decoding.temperature}, seed {decoding.seed}"
    return with_completions(chain, prompts, written, f"{stage.name}, {how}, at most {decoding.max_new_tokens} tokens")


def with_completions(
    chain: Chain, prompts: RenderedPrompts, completions: Sequence[Sequence[int]], written_by: str = "given"
) -> Sequences:
    """The prompts with given completions (token ids), or with none where they are empty."""
    ids = tuple(tuple(each) for each in completions)
    for index, (prompt, completion) in enumerate(zip(prompts.token_ids, ids, strict=True)):
        if len(prompt) + len(completion) > chain.alignment.context:
            raise InputError(
                f"prompt {index} and its completion have {len(prompt) + len(completion)} tokens and the context holds "
                f"{chain.alignment.context}; cut the completion."
            )
    strings = tuple(tuple(token_strings(chain.tuned.tokenizer, each)) for each in ids)
    return Sequences(prompts, ids, strings, written_by)


def coordinates(chain: Chain, sequences: Sequences) -> dict[str, object]:
    """Labels of stages, prompts and positions, and the exact tokens in use."""
    grid = np.full((len(sequences), len(sequences.positions)), -1, dtype=np.int32)
    text = np.full(grid.shape, "", dtype=object)
    offset = sequences.prompts.longest - 1
    for index, (ids, tokens) in enumerate(zip(sequences.ids, sequences.tokens, strict=True)):
        places = sequences.relative(index) + offset
        grid[index, places], text[index, places] = ids, np.asarray(tokens, dtype=object)
    return {
        "stage": list(chain.names),
        "prompt": np.arange(len(sequences)),
        "position": sequences.positions,
        "text": ("prompt", list(sequences.prompts.texts)),
        "template": ("prompt", list(sequences.prompts.templates)),
        "rendering": ("prompt", list(sequences.prompts.renderings)),
        "token_id": (("prompt", "position"), grid),
        "token": (("prompt", "position"), text.astype(str)),
    }


def provenance(chain: Chain, sequences: Sequences) -> dict[str, object]:
    """Which checkpoints, at which precision, on which tokens."""
    return {
        "checkpoints": [stage.checkpoint.provenance() for stage in chain.stages],
        "dtype": [str(stage.dtype).removeprefix("torch.") for stage in chain.stages],
        "device": [stage.device for stage in chain.stages],
        "token_ids_sha256": sequences.hash,
        "completions": sequences.written_by,
    }
