"""The edits of every unedited completion, what is written behind each, and how that compares, as flat arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from mcinterp.behaviour.perturbation import measures
from mcinterp.behaviour.perturbation.edits import Completion, Edit, Edited
from mcinterp.behaviour.perturbation.measures import Text
from mcinterp.behaviour.perturbation.writing import Writer
from mcinterp.behaviour.temperature_curves.reading import Rows, Table, each_chunk
from mcinterp.chain import Stage
from mcinterp.rendering import token_strings

Ids = Sequence[int]
MOST_ALTERNATIVES = 8


class Owner(NamedTuple):
    """Which unedited text: the prompt and the sample of it."""

    prompt: int
    sample: int


@dataclass(frozen=True)
class Unedited:
    """The unedited texts with their mean entropies; `texts` run as far as anything behind an edit is compared."""

    owners: tuple[Owner, ...]
    texts: tuple[Text, ...]
    entropies: Table
    completions: tuple[Completion, ...]


class Cell(NamedTuple):
    """One edit of one unedited text (its number), by index of depth and edit."""

    number: int
    depth: int
    edit: int
    edited: Edited


def completions(
    base: Stage, tokenizer: Any, prompts: Sequence[Ids], texts: Sequence[Text], plausible: float
) -> tuple[Completion, ...]:
    """The texts as edits see them, with the other tokens that the base finds as likely as `plausible` or more."""
    found: list[list[tuple[int, ...]]] = [[()] * len(text.ids) for text in texts]
    end = torch.tensor(sorted(base.end_tokens), dtype=torch.long)

    def keep(rows: np.ndarray, steps: np.ndarray, read: Rows, tokens: torch.Tensor) -> None:
        others = read.scatter(-1, tokens[:, None], -torch.inf)
        others[:, end.to(read.device)] = -torch.inf
        best = others.topk(min(MOST_ALTERNATIVES, others.shape[-1]), dim=-1)
        likely = (best.values.exp() >= plausible).sum(dim=-1).tolist()
        for row, step, ids, count in zip(rows, steps, best.indices.tolist(), likely, strict=True):
            found[row][step] = tuple(ids[:count])

    each_chunk(base, prompts, [text.ids for text in texts], keep)
    return tuple(
        Completion(tuple(prompt), text.ids, tuple(token_strings(tokenizer, text.ids)), tuple(others), tokenizer)
        for prompt, text, others in zip(prompts, texts, found, strict=True)
    )


def cells_of(unedited: Unedited, edits: Sequence[Edit], depths: Sequence[float], steps: int) -> list[Cell]:
    """Every edit that can be made at every depth: a share of the text, or of its first `steps` tokens."""
    found = []
    for number, completion in enumerate(unedited.completions):
        length = min(len(completion.ids), steps)
        for depth, share in enumerate(depths if length else ()):
            for index, edit in enumerate(edits):
                edited = edit.at(completion, int(share * length))
                if edited is not None:
                    found.append(Cell(number, depth, index, edited))
    return found


def write_cells(
    writer: Writer, unedited: Unedited, cells: Sequence[Cell], steps: int, seed: int
) -> tuple[list[Text], Table]:
    """What is written behind every edit, and the entropy of what each token was drawn from."""
    owners = [unedited.owners[cell.number] for cell in cells]
    streams = [(seed, 1, *owner, cell.depth, cell.edit) for owner, cell in zip(owners, cells, strict=True)]
    return writer.write_and_read(beginnings(unedited, cells), [owner.prompt for owner in owners], streams, steps)


def beginnings(unedited: Unedited, cells: Sequence[Cell]) -> list[tuple[int, ...]]:
    """The prompt and the changed beginning of every cell."""
    return [(*unedited.completions[cell.number].prompt, *cell.edited.ids) for cell in cells]


def rest(unedited: Unedited, number: int, after: int) -> Text:
    """An unedited text from a token on."""
    text = unedited.texts[number]
    return Text(text.ids[after:], text.ended)


def elsewhere(unedited: Unedited, cells: Sequence[Cell], templates: Sequence[str]) -> list[Text | None]:
    """For every cell the unedited text of the next prompt of another template, from the same token on."""
    numbers = {owner: number for number, owner in enumerate(unedited.owners)}
    found: list[Text | None] = []
    for cell in cells:
        prompt, sample = unedited.owners[cell.number]
        order = [(prompt + n) % len(templates) for n in range(1, len(templates))]
        other = next((p for p in order if templates[p] != templates[prompt] and Owner(p, sample) in numbers), None)
        found.append(None if other is None else rest(unedited, numbers[Owner(other, sample)], cell.edited.after))
    return found


def compare(
    unedited: Unedited,
    cells: Sequence[Cell],
    texts: Sequence[Text],
    others: Sequence[Text | None],
    steps: int,
    window: int,
    least: int,
) -> dict[str, np.ndarray]:
    """Every measure of every cell: arrays over cell, or over cell and step."""
    rests = [rest(unedited, cell.number, cell.edited.after) for cell in cells]
    returns = np.asarray([measures.return_step(*pair, least) for pair in zip(texts, rests, strict=True)])
    returned = np.where(np.isnan(returns), np.nan, np.isfinite(returns).astype(float))
    ended = np.asarray([text.ended for text in texts], dtype=bool)
    distances = measures.edit_distances([t.ids for t in texts], [r.ids for r in rests], steps)
    local = measures.after_the_end(measures.local_distance(distances, window), ended, returned)
    there = [text.ids if text is not None else () for text in others]
    far = measures.local_distance(measures.edit_distances([t.ids for t in texts], there, steps), window)
    far[[text is None for text in others]] = np.nan
    ends = [ending_of(unedited, cell, text) for cell, text in zip(cells, texts, strict=True)]
    return {
        "edit_distance": distances,
        "distance": local,
        "distance_elsewhere": far,
        "returned": returned,
        "return_step": np.where(np.isfinite(returns), returns, np.nan),
        "ending": np.asarray([last for last, _ in ends], dtype=str),
        "same_ending": np.asarray([same for _, same in ends]),
        "is_loop": np.asarray([float(looping(unedited, *pair)) for pair in zip(cells, texts, strict=True)]),
        "ended": ended.astype(float),
        "edited_at": np.asarray([float(cell.edited.place) for cell in cells]),
    }


def text_of(completion: Completion, ids: Ids) -> str:
    """Tokens as text."""
    return completion.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)


def endings(completion: Completion, before: Ids, text: Text) -> tuple[str, list[str]]:
    """The last sentence of a completion, and its sentences that begin behind some of its tokens."""
    whole = measures.sentences(text_of(completion, (*before, *text.ids)), ended=text.ended)
    behind = measures.sentences(text_of(completion, text.ids), ended=text.ended)
    return whole[-1] if whole else "", measures.wholly_behind(whole, behind)


def unedited_ending(unedited: Unedited, number: int) -> str:
    """The last sentence of an unedited text."""
    return endings(unedited.completions[number], (), unedited.texts[number])[0]


def ending_of(unedited: Unedited, cell: Cell, text: Text) -> tuple[str, float]:
    """The last sentence of a completion with an edit in it, and whether the unedited one ends with the same.

    Of texts that were cut nothing shows the end: there the last complete sentence need only stand somewhere in the
    unedited text behind the edit. Missing where neither can be said: no sentence of the unedited text begins behind the
    edit (or not its last), or a cut continuation holds none.
    """
    completion, whole = unedited.completions[cell.number], unedited.texts[cell.number]
    kept, after = whole.ids[: cell.edited.after], rest(unedited, cell.number, cell.edited.after)
    wanted = endings(completion, kept, after)[1]
    last, mine = endings(completion, cell.edited.ids, text)
    if not wanted or not (mine or text.ended):
        return last, float("nan")
    return last, float(last in (wanted[-1:] if text.ended and whole.ended else wanted))


def looping(unedited: Unedited, cell: Cell, text: Text) -> bool:
    """Whether the edited or the unedited text ends in a loop."""
    return measures.is_loop((*cell.edited.ids, *text.ids)) or measures.is_loop(unedited.texts[cell.number].ids)


def by_return(entropies: Table, returns: np.ndarray, *, before: bool) -> np.ndarray:
    """Mean entropy of every text before it is back (or from then on); missing where there is no such token."""
    until = np.where(np.isnan(returns), np.inf, returns)[:, None]
    steps = np.arange(entropies.shape[1])
    chosen = np.where(steps < until if before else steps >= until, entropies, np.nan)
    count = (~np.isnan(chosen)).sum(axis=1)
    return np.divide(np.nansum(chosen, axis=1), count, out=np.full(len(chosen), np.nan), where=count > 0)
