"""What kind of attention head each one is, in every stage: induction, previous token, duplicate token, copying.

The three attention scores come from random tokens said twice, where nothing but copying predicts the second half
(Elhage et al. 2021, "A mathematical framework for transformer circuits"; Olsson et al. 2022, "In-context learning and
induction heads"). Copying is read from the weights, and attention's spread and change on the given prompts.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float

from mcinterp.batching import Batch, batches
from mcinterp.budget import halving
from mcinterp.capture import ACTIVATION_BYTES, capture
from mcinterp.chain import Chain, Stage
from mcinterp.copying import copying_scores
from mcinterp.errors import InputError
from mcinterp.growth import prefixes
from mcinterp.intervene.inputs import PromptsLike, as_sequences
from mcinterp.rendering import encode
from mcinterp.results import describe, with_provenance
from mcinterp.sequences import provenance

LENGTH = 50
REPEATS = 8

Patterns = Float[torch.Tensor, "layer row head query key"]
Scores = dict[str, np.ndarray]


@halving
def head_scores(
    chain: Chain, prompts: PromptsLike, *, seed: int = 0, length: int | None = None, repeats: int = REPEATS
) -> xr.Dataset:
    """Scores of every attention head of every stage.

    A random sequence is `length` distinct tokens (no special ones), said twice, after a BOS where the tokenizer puts
    one. Scores are mean attention probabilities over sequences and over the tokens of the second half (of both for the
    previous token; attention to the BOS never counts as such).

    Args:
        chain: A pair or chain of checkpoints.
        prompts: Texts on which the spread and change of attention are read; completions are left out.
        seed: Fixes the random tokens.
        length: Tokens that are said twice; by default 50, or what fits the context or the vocabulary.
        repeats: How many random sequences are drawn.

    Returns:
        A dataset over `stage, layer, head`: `induction_score`, `previous_token_score`, `duplicate_token_score`,
        `copying_score` (see `mcinterp.copying`; missing where an architecture has no such projections); and over
        `stage, prompt, layer, head`: `attention_entropy` (nats) at the last prompt token and `attention_entropy_mean`
        over all prompt tokens, `attention_distance` and `attention_distance_mean`, the total variation from the first
        stage's attention (in [0, 1]).

    Raises:
        InputError: For a length or number of sequences that cannot be had.
    """
    sequences = as_sequences(chain, prompts)
    ids = repeated_tokens(chain, length, repeats, seed)
    half = repeated_half(chain, ids)
    random = stacked_scores([mean_scores(stage, ids, half) for stage in chain.stages])
    random["copying_score"] = np.stack([copying_scores(stage) for stage in chain.stages])
    spread = prompt_scores(chain, prefixes(sequences, 0))
    dataset = xr.Dataset(
        {name: (("stage", "layer", "head"), values.astype(np.float32)) for name, values in random.items()}
        | {name: (("stage", "prompt", "layer", "head"), values.astype(np.float32)) for name, values in spread.items()},
        coords={
            "stage": list(chain.names),
            "layer": np.arange(chain.base.n_layers),
            "head": np.arange(random["induction_score"].shape[-1]),
            "text": ("prompt", list(sequences.prompts.texts)),
            "template": ("prompt", list(sequences.prompts.templates)),
        },
    )
    made = {"seed": seed, "length": half, "repeats": repeats}
    return with_provenance(describe(dataset), analysis="head_scores", **made, **provenance(chain, sequences))


def repeated_tokens(chain: Chain, length: int | None, repeats: int, seed: int) -> list[tuple[int, ...]]:
    """Sequences of distinct random tokens said twice, after the BOS where the tokenizer puts one."""
    if repeats < 1:
        raise InputError(f"{repeats} random sequences were asked for; give 1 or more.")
    bos = leading_token(chain.base)
    special = {int(i) for stage in chain.stages for i in stage.tokenizer.all_special_ids}
    usable = [i for i in range(chain.alignment.vocabulary) if i not in special]
    most = min((chain.alignment.context - len(bos)) // 2, len(usable))
    chosen = min(LENGTH, most) if length is None else length
    if not 2 <= chosen <= most:
        raise InputError(
            f"{chosen} random tokens said twice were asked for, and the context and vocabulary allow 2 to {most}; give "
            f"a length among them."
        )
    random = np.random.default_rng(seed)
    drawn = [random.choice(usable, size=chosen, replace=False).tolist() for _ in range(repeats)]
    return [(*bos, *tokens, *tokens) for tokens in drawn]


def leading_token(stage: Stage) -> tuple[int, ...]:
    """The BOS that the tokenizer puts before raw text, or nothing."""
    bos = stage.tokenizer.bos_token_id
    return (int(bos),) if bos is not None and encode(stage.tokenizer, "a", "raw")[:1] == [bos] else ()


def repeated_half(chain: Chain, ids: Sequence[Sequence[int]]) -> int:
    """The number of tokens that are said twice in each sequence."""
    return (len(ids[0]) - len(leading_token(chain.base))) // 2


def patterns_of(stage: Stage, batch: Batch) -> Patterns:
    """Attention probabilities of all layers, in float32."""
    hooks = [f"blocks.{layer}.attn.hook_pattern" for layer in range(stage.n_layers)]
    kept = capture(stage, batch, hooks)
    return torch.stack([kept[hook].float() for hook in hooks])


def pattern_batches(stage: Stage, ids: Sequence[Sequence[int]]) -> Iterator[Batch]:
    """Batches whose attention probabilities stay within the memory for activations (at least one sequence each)."""
    longest = max(len(each) for each in ids)
    token = 4 * stage.n_layers * int(stage.bridge.cfg.n_heads) * longest
    yield from batches(ids, max_tokens=max(1, ACTIVATION_BYTES // (4 * token)))


@torch.inference_mode()
def mean_scores(stage: Stage, ids: Sequence[Sequence[int]], half: int) -> Scores:
    """The three attention scores over layer and head, mean over sequences of `half` tokens said twice."""
    found = [each for batch in pattern_batches(stage, ids) for each in repeat_scores(patterns_of(stage, batch), half)]
    return {name: np.mean([each[name] for each in found], axis=0) for name in found[0]}


def repeat_scores(patterns: Patterns, half: int) -> list[Scores]:
    """The attention scores of each row over layer and head.

    With t a token of the second half and n the number of tokens said twice: induction is the attention from t to
    t - n + 1, duplicate token that to t - n; previous token is that from any token to the one before, the first said
    one left out.
    """
    size = patterns.shape[-1]
    second, said = torch.arange(size - half, size), torch.arange(size - 2 * half + 1, size)
    means = {
        "induction_score": patterns[..., second, second - half + 1].mean(dim=-1),
        "duplicate_token_score": patterns[..., second, second - half].mean(dim=-1),
        "previous_token_score": patterns[..., said, said - 1].mean(dim=-1),
    }
    return [{name: mean[:, row].cpu().numpy() for name, mean in means.items()} for row in range(patterns.shape[1])]


def stacked_scores(each: Sequence[Scores]) -> Scores:
    """Scores of all stages, the stage axis first."""
    return {name: np.stack([scores[name] for scores in each]) for name in each[0]}


@torch.inference_mode()
def prompt_scores(chain: Chain, ids: Sequence[Sequence[int]]) -> Scores:
    """Spread of attention and its distance from the first stage's, over stage, prompt, layer and head."""
    found: dict[str, np.ndarray] = {}
    for batch in pattern_batches(chain.base, ids):
        base = patterns_of(chain.base, batch)
        for number, stage in enumerate(chain.stages):
            own = base if number == 0 else patterns_of(stage, batch)
            for name, values in spreads(own, base.to(own.device), batch.lengths).items():
                array = found.setdefault(name, np.full((len(chain.stages), len(ids), *values.shape[1:]), np.nan))
                array[number, list(batch.indices)] = values
    return found


def spreads(own: Patterns, base: Patterns, lengths: Sequence[int]) -> Scores:
    """The measures of each row's own tokens over row, layer and head; padding counts nowhere."""
    parts: dict[str, list[np.ndarray]] = {}
    for row, size in enumerate(lengths):
        mine, other = own[:, row, :, :size, :size], base[:, row, :, :size, :size]
        entropy = torch.special.entr(mine).sum(dim=-1)
        distance = (mine - other).abs().sum(dim=-1) / 2
        for name, values in (("attention_entropy", entropy), ("attention_distance", distance)):
            parts.setdefault(name, []).append(values[..., -1].cpu().numpy())
            parts.setdefault(f"{name}_mean", []).append(values.mean(dim=-1).cpu().numpy())
    return {name: np.stack(values) for name, values in parts.items()}
