"""The test of whole texts (`sequence`) on a chain: branches of prefixes, and what the base writes next.

Prefixes are the prompt's end and the steps of a completion of the base where it is least sure; branches are its likely
tokens there. Behind every branch the base writes a few texts, whose log-probabilities give the Rényi entropies of the
future up to a horizon; the end of the text is one outcome of it.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
import xarray as xr

from mcinterp import divergence
from mcinterp.behaviour.labels import prompt_labels
from mcinterp.behaviour.temperature_curves.reading import Rows, each_chunk
from mcinterp.behaviour.temperature_curves.sequence import ORDERS, fit, product_sums, sampled_renyi_entropy
from mcinterp.chain import Chain, Stage
from mcinterp.completions import Decoding, Job, complete, write_all
from mcinterp.errors import InputError
from mcinterp.prompts import Prompts
from mcinterp.rendering import RenderedPrompts
from mcinterp.results import describe, with_provenance
from mcinterp.sequences import provenance, with_completions

Ids = Sequence[int]
PLACE = ("prompt", "prefix", "branch")
FITTED = ("fitted_order", "slope_log_prob", "slope_future", "fit_r2", "fit_r2_without_future", "fit_consistent")


@dataclass(frozen=True)
class Branching:
    """How many prefixes a prompt, branches a prefix (of probability `least` or more) and texts a branch, how long."""

    prefixes: int = 3
    branches: int = 6
    least: float = 0.01
    samples: int = 16
    horizon: int = 24
    reach: int = 24
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.prefixes, self.horizon, self.reach) < 1 or self.branches < 2 or self.samples < 2:
            raise InputError(
                f"got prefixes={self.prefixes}, branches={self.branches}, samples={self.samples}, "
                f"horizon={self.horizon}, reach={self.reach}; give 2 or more branches and samples, 1 of the others."
            )


DEFAULT = Branching()


def sequence_tempering_test(
    chain: Chain, prompts: Prompts, settings: Branching = DEFAULT, *, rendering: Literal["raw", "chat"] = "raw"
) -> xr.Dataset:
    """Is every later stage the base tempered over whole texts, over tokens, or neither?

    Over `prompt, prefix, branch` (missing where there are fewer): `branch_token_id`, `branch_base_log_prob` and over
    `order` the `future_renyi_entropy` of what the base writes behind it (nats), over `half` its Shannon entropy from
    either half of the texts; over `stage` too (all but the base) `branch_log_prob`. Over `prompt, prefix`:
    `prefix_length` (tokens of the completion) and `prefix_covered`, the base's mass on the branches. Over `stage` the
    regression over all prefixes: `fitted_order`, `slope_log_prob`, `slope_future`, `fit_r2`, `fit_r2_without_future`
    and `fit_consistent`.

    Raises `InputError` for settings that cannot be used, and for a chain of one stage.
    """
    chain.require_two()
    rendered = chain.render(prompts, rendering)
    places, prefixes = chosen_prefixes(chain, rendered, settings)
    tokens, log_p, covered = branches_of(chain.base, prefixes, settings)
    later = [branch_log_probs(stage, prefixes, tokens) for stage in chain.stages[1:]]
    futures, halves = futures_of(chain, prefixes, tokens, settings)
    shape = (len(rendered), settings.prefixes)
    lengths = np.asarray([len(ids) - len(rendered.token_ids[p]) for (p, _), ids in zip(places, prefixes, strict=True)])
    data = {
        "branch_token_id": (PLACE, placed(np.where(tokens < 0, np.nan, tokens), places, shape)),
        "branch_base_log_prob": (PLACE, placed(log_p, places, shape)),
        "branch_log_prob": (("stage", *PLACE), np.stack([placed(each, places, shape) for each in later])),
        "future_renyi_entropy": ((*PLACE, "order"), placed(futures, places, shape)),
        "future_half": ((*PLACE, "half"), placed(halves, places, shape)),
        "prefix_covered": (PLACE[:2], placed(covered, places, shape)),
        "prefix_length": (PLACE[:2], placed(lengths.astype(float), places, shape)),
    }
    dataset = xr.Dataset(data, coords=labels(chain, prompts, rendered)).assign_coords(order=ORDERS)
    dataset = dataset.assign(fits(dataset))
    bare = with_completions(chain, rendered, [()] * len(rendered), "none")
    return with_provenance(
        describe(dataset), analysis="sequence_tempering", rendering=rendering, battery=prompts.source,
        **asdict(settings), **provenance(chain, bare),
    )  # fmt: skip


def labels(chain: Chain, prompts: Prompts, rendered: RenderedPrompts) -> dict[str, Any]:
    """Names of the later stages, and what the battery says of every prompt."""
    return {
        "stage": list(chain.names[1:]),
        **prompt_labels(prompts, rendered),
    }


def placed(values: np.ndarray, places: Sequence[tuple[int, int]], shape: tuple[int, int]) -> np.ndarray:
    """Values of prefixes as an array over prompt and prefix; missing where a prompt has fewer."""
    table = np.full((*shape, *values.shape[1:]), np.nan, dtype=np.float32)
    table[tuple(np.asarray(places).T)] = values
    return table


def chosen_prefixes(
    chain: Chain, rendered: RenderedPrompts, settings: Branching
) -> tuple[list[tuple[int, int]], list[tuple[int, ...]]]:
    """The (prompt, number) and tokens of every prefix: the prompt, and where the base is least sure while it writes."""
    room = chain.alignment.context - settings.horizon - 2
    decoding = Decoding(settings.reach, temperature=1.0, seed=settings.seed)
    written = complete(chain.base, rendered.token_ids, decoding, context=max(room, rendered.longest))
    entropies = np.full((len(rendered), settings.reach), -1.0)

    def keep(rows: np.ndarray, steps: np.ndarray, read: Rows, tokens: torch.Tensor) -> None:
        entropies[rows, steps] = divergence.entropy(read).cpu().numpy()

    each_chunk(chain.base, rendered.token_ids, written, keep)
    places, prefixes = [], []
    for prompt, ids in enumerate(rendered.token_ids):
        unsure = [step for step in np.argsort(-entropies[prompt, 1:], kind="stable") + 1 if entropies[prompt, step] > 0]
        for number, step in enumerate([0, *sorted(unsure[: settings.prefixes - 1])]):
            places.append((prompt, number))
            prefixes.append((*ids, *written[prompt][:step]))
    return places, prefixes


def branches_of(base: Stage, prefixes: Sequence[Ids], settings: Branching) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The base's likely tokens behind every prefix (-1 beyond them), their log-probabilities, and their mass."""
    tokens = np.full((len(prefixes), settings.branches), -1)
    log_p = np.full(tokens.shape, np.nan)

    def keep(rows: np.ndarray, steps: np.ndarray, read: Rows, written: torch.Tensor) -> None:
        best = read.topk(min(settings.branches, read.shape[-1]), dim=-1)
        values, ids = best.values.cpu().double().numpy(), best.indices.cpu().numpy()
        likely = np.exp(values) >= settings.least
        tokens[rows, : ids.shape[1]] = np.where(likely, ids, -1)
        log_p[rows, : ids.shape[1]] = np.where(likely, values, np.nan)

    each_chunk(base, prefixes, [(0,)] * len(prefixes), keep)
    return tokens, log_p, np.nansum(np.exp(log_p), axis=1)


def branch_log_probs(stage: Stage, prefixes: Sequence[Ids], tokens: np.ndarray) -> np.ndarray:
    """A stage's log-probabilities of the same tokens."""
    found = np.full(tokens.shape, np.nan)

    def keep(rows: np.ndarray, steps: np.ndarray, read: Rows, written: torch.Tensor) -> None:
        chosen = torch.tensor(np.maximum(tokens[rows], 0)).to(read.device)
        values = read.gather(-1, chosen).cpu().double().numpy()
        found[rows] = np.where(tokens[rows] < 0, np.nan, values)

    each_chunk(stage, prefixes, [(0,)] * len(prefixes), keep)
    return found


def futures_of(
    chain: Chain, prefixes: Sequence[Ids], tokens: np.ndarray, settings: Branching
) -> tuple[np.ndarray, np.ndarray]:
    """Rényi entropies of the future of every branch over order, and Shannon's from either half of the texts."""
    base, context = chain.base, chain.alignment.context
    cells = [(row, column) for row, column in np.argwhere(tokens >= 0) if tokens[row, column] not in base.end_tokens]
    before = [(*prefixes[row], int(tokens[row, column])) for row, column in cells]
    jobs = [
        Job(n, ids, np.random.default_rng((settings.seed, 2, *cells[n], sample)).random(room), room)
        for n, ids in enumerate(before)
        for room in [min(settings.horizon, context - len(ids) - 1)]
        for sample in range(settings.samples)
    ]
    written = dict(write_all(base, jobs, 1.0))
    outcomes = [(written[n], len(written[n]) < job.steps) for n, job in enumerate(jobs)]
    scores = future_log_probs(base, [job.ids for job in jobs], outcomes)
    futures, halves = np.full((*tokens.shape, len(ORDERS)), np.nan), np.full((*tokens.shape, 2), np.nan)
    ends = np.isin(tokens, sorted(base.end_tokens)) & (tokens >= 0)
    futures[ends], halves[ends] = 0.0, 0.0
    for n, (row, column) in enumerate(cells):
        mine = range(n * settings.samples, (n + 1) * settings.samples)
        futures[row, column] = entropies_of(outcomes, scores, mine, ORDERS)
        halves[row, column] = [entropies_of(outcomes, scores, mine[half::2], [1.0])[0] for half in (0, 1)]
    return futures, halves


def entropies_of(
    outcomes: Sequence[tuple[tuple[int, ...], bool]],
    scores: np.ndarray,
    mine: range,
    orders: Sequence[float] | np.ndarray,
) -> list[float]:
    """The entropies of some samples at some orders."""
    different = {outcomes[n]: scores[n] for n in mine}
    values = np.asarray(list(different.values()))
    return [sampled_renyi_entropy(values, len(mine), float(order)) for order in orders]


def future_log_probs(
    base: Stage, before: Sequence[Ids], outcomes: Sequence[tuple[tuple[int, ...], bool]]
) -> np.ndarray:
    """log P(the written tokens, and the end where a text ended) under the base, in nats."""
    found = np.zeros(len(outcomes))
    end = torch.tensor(sorted(base.end_tokens), dtype=torch.long)
    lengths = np.asarray([len(ids) for ids, _ in outcomes])
    marked = [(*ids, int(end[0])) if ended else ids for ids, ended in outcomes]

    def keep(rows: np.ndarray, steps: np.ndarray, read: Rows, tokens: torch.Tensor) -> None:
        own = divergence.token_log_prob(read, tokens).cpu().double().numpy()
        ending = read[:, end.to(read.device)].logsumexp(dim=-1).cpu().double().numpy()
        np.add.at(found, rows, np.where(steps == lengths[rows], ending, own))

    each_chunk(base, before, marked, keep)
    return found


def fits(dataset: xr.Dataset) -> dict[str, Any]:
    """The regression of every stage over all prefixes."""
    found = [fit(stage_sums(dataset, stage).sum(axis=0)) for stage in dataset["stage"].values.tolist()]
    columns = np.asarray([tuple(each) for each in found], dtype=np.float32).T
    return {name: ("stage", column) for name, column in zip(FITTED, columns, strict=True)}


def stage_sums(dataset: xr.Dataset, stage: str) -> np.ndarray:
    """The sums of products that the regression of one stage needs, over prompt, order and product."""
    log_q = dataset["branch_log_prob"].sel(stage=stage).transpose(*PLACE).values.astype(float)
    log_p = dataset["branch_base_log_prob"].transpose(*PLACE).values.astype(float)
    future = dataset["future_renyi_entropy"].transpose(*PLACE, "order").values.astype(float)
    return product_sums(log_q, log_p, future).sum(axis=1)
