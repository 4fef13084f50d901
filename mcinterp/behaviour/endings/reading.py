"""What a stage writes from the places where stories are branched, and the outcomes that it comes to."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from mcinterp.behaviour.endings.outcomes import OTHER, UNFINISHED, Outcomes, outcome_of
from mcinterp.behaviour.endings.places import Branched, Place, places
from mcinterp.behaviour.multiverse.growing import Growth, grow
from mcinterp.behaviour.multiverse.nodes import Tree
from mcinterp.behaviour.perturbation.writing import Writer
from mcinterp.chain import Chain, Stage
from mcinterp.rendering import RenderedPrompts, token_strings

STORY, BRANCH = 4, 5
ROUND = 16
Tally = Float[np.ndarray, "column"]


def text_of(chain: Chain, ids: Sequence[int]) -> str:
    """Tokens as text."""
    return chain.tuned.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)


def stories(chain: Chain, stage: Stage, rendered: RenderedPrompts, settings: Branched) -> list[list[Place]]:
    """One story of a stage for every prompt, as the places where it is branched."""
    ids = rendered.token_ids
    numbers = list(range(len(ids)))
    writer = Writer(stage, np.ones(len(ids)), chain.alignment.context)
    written = writer.write(ids, numbers, [(settings.seed, STORY, number) for number in numbers], settings.length)
    found = []
    for number, text in enumerate(written):
        ends = places(token_strings(stage.tokenizer, text.ids), settings.kept, settings.unit)
        whole = [bool(kept) and kept == len(text.ids) for kept in ends]
        found.append(
            [
                Place(number, (*ids[number], *text.ids[:n]), n, all_of_it)
                for n, all_of_it in zip(ends, whole, strict=True)
            ]
        )
    return found


def tallies(
    chain: Chain,
    stage: Stage,
    rendered: RenderedPrompts,
    asked: Sequence[Outcomes],
    wanted: Sequence[Place],
    settings: Branched,
) -> dict[Place, Tally]:
    """How many texts from every place have each outcome, another one, or were cut before any.

    A story that is whole has its one outcome, in as many texts; equal places are written on once.
    """
    most = max(len(each.names) for each in asked)
    unique = list(dict.fromkeys(wanted))
    cells = [(place, sample) for place in unique if not place.whole for sample in range(settings.samples)]
    found = {place: np.zeros(most + 2) for place in unique}
    for (place, _), (ids, ended) in zip(cells, written(chain, stage, rendered, cells, settings), strict=True):
        found[place][column(chain, rendered, place, ids, ended, asked, most)] += 1
    for place in unique:
        if place.whole:
            ended = place.kept < settings.length
            found[place][column(chain, rendered, place, (), ended, asked, most)] = settings.samples
    return found


def written(
    chain: Chain, stage: Stage, rendered: RenderedPrompts, cells: Sequence[tuple[Place, int]], settings: Branched
) -> list[tuple[tuple[int, ...], bool]]:
    """The text of every place and sample: token ids and whether it ended.

    Texts are written `ROUND` tokens at a time, so that those which end early do not wait for the last one.
    """
    writer = Writer(stage, np.ones(len(rendered)), chain.alignment.context)
    found: list[tuple[int, ...]] = [()] * len(cells)
    ended = [False] * len(cells)
    for start in range(0, settings.length, ROUND):
        going = [n for n, (place, _) in enumerate(cells) if not ended[n] and place.kept + start < settings.length]
        going = [n for n in going if len(found[n]) == start]
        for room in sorted({min(ROUND, settings.length - cells[n][0].kept - start) for n in going}):
            group = [n for n in going if min(ROUND, settings.length - cells[n][0].kept - start) == room]
            pairs = [cells[n] for n in group]
            before = [(*place.ids, *found[n]) for n, (place, _) in zip(group, pairs, strict=True)]
            streams = [(settings.seed, BRANCH, place.prompt, place.kept, sample, start) for place, sample in pairs]
            for n, text in zip(group, writer.write(before, [p.prompt for p, _ in pairs], streams, room), strict=True):
                found[n], ended[n] = (*found[n], *text.ids), text.ended
    return list(zip(found, ended, strict=True))


def column(
    chain: Chain,
    rendered: RenderedPrompts,
    place: Place,
    ids: Sequence[int],
    ended: bool,
    asked: Sequence[Outcomes],
    most: int,
) -> int:
    """Where the outcome of a text is counted."""
    story = (*place.ids[len(rendered.token_ids[place.prompt]) :], *ids)
    which = outcome_of(text_of(chain, story), asked[place.prompt], ended=ended)
    return {OTHER: most, UNFINISHED: most + 1}.get(which, which)


def exact_tallies(
    chain: Chain,
    rendered: RenderedPrompts,
    asked: Sequence[Outcomes],
    wanted: Sequence[Place],
    settings: Branched,
) -> dict[Place, Float[np.ndarray, "stage column"]]:
    """The exact probability of every outcome of the places whose continuations a tree can hold, under every stage.

    Those are places where ended texts have all but `tolerance` of the probability under every stage; the rest of it
    counts as unfinished. A place is missing where it is whole, too early, or its tree too small.
    """
    open_places = [place for place in dict.fromkeys(wanted) if not place.whole]
    if not (settings.nodes and open_places):
        return {}
    most = max(len(each.names) for each in asked)
    growth = Growth(min(0.1, 1 / settings.nodes), settings.length, settings.nodes)
    trees = grow(chain, [place.ids for place in open_places], growth)
    found = {}
    for place, tree in zip(open_places, trees, strict=True):
        tally = of_tree(chain, rendered, asked, place, tree, most, settings.length - place.kept)
        if float(tally[:, most + 1].max()) <= settings.tolerance:
            found[place] = tally
    return found


def of_tree(
    chain: Chain,
    rendered: RenderedPrompts,
    asked: Sequence[Outcomes],
    place: Place,
    tree: Tree,
    most: int,
    room: int,
) -> Float[np.ndarray, "stage column"]:
    """The probability of every outcome among the ended texts of a tree; what is left counts as unfinished."""
    tally = np.zeros((len(tree.log_prob), most + 2))
    for leaf in np.flatnonzero(tree.ended & (tree.depth <= room)).tolist():
        which = column(chain, rendered, place, tree.tokens(leaf)[:-1], True, asked, most)
        tally[:, which] += np.exp(tree.log_prob[:, leaf])
    tally[:, most + 1] += np.clip(1.0 - tally.sum(axis=1), 0.0, None)
    return tally
