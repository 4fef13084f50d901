"""The block multiverse: all continuations of a prompt with their exact probabilities, every stage on one axis.

From the post "Mysteries of mode collapse": after a line break more than half of the tuned model's probability followed
one beginning, and its beams decayed much more slowly than the base's. There one model was asked greedily; here the tree
is exact, and every prefix is read under all stages.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import xarray as xr

from mcinterp.behaviour.labels import prompt_labels
from mcinterp.behaviour.multiverse import measures
from mcinterp.behaviour.multiverse.growing import GROWTH, Growth, grow
from mcinterp.behaviour.multiverse.nodes import Tree
from mcinterp.behaviour.perturbation.measures import sentences
from mcinterp.chain import Chain
from mcinterp.errors import InputError
from mcinterp.prompts import Prompts
from mcinterp.rendering import RenderedPrompts, token_strings
from mcinterp.results import describe, with_provenance
from mcinterp.sequences import provenance, with_completions

Outcome = Callable[[str, bool], str]
STEPS = ("stage", "prompt", "step")


def last_sentence(text: str, ended: bool) -> str:
    """The last sentence of a text, the last complete one where it was cut; the whole text where there is none."""
    return [text, *sentences(text, ended=ended)][-1].strip()


def multiverse(
    chain: Chain,
    prompts: Prompts,
    growth: Growth = GROWTH,
    *,
    rendering: str = "raw",
    outcome: Outcome = last_sentence,
) -> xr.Dataset:
    """The exact prefix tree of every prompt, and what each stage makes of it.

    Nodes of all trees stand in one dimension `node`, each tree's together and level by level, the empty continuation
    first: `node_prompt`, `node_parent` (-1 for it), `node_depth`, `node_token_id`, `node_token`, `node_ended`,
    `node_outcome` (of texts that nothing follows in the tree's depth, by `outcome(text, ended)`; else empty); over
    `stage, node` `node_log_prob` and `node_entropy` (nats), `node_cut` (probability of continuations left out).

    Over `stage, prompt, step` (depth from 1 on): `kept_mass`, `cut_mass` (they sum to 1), `ended_mass`, `top_mass`,
    `path_mass`, `n_likely` (prefixes), `fork_low` and `fork_high`. Over `stage, prompt`: `half_life` (tokens) and
    `tree_area`. See `mcinterp.behaviour.multiverse.measures`.

    Raises:
        InputError: for both renderings at once, or prompts that the context cannot hold.
    """
    if rendering not in ("raw", "chat"):
        raise InputError(f"got rendering {rendering!r}; a tree is grown in one way at a time: give raw or chat.")
    rendered = chain.render(prompts, rendering)
    trees = grow(chain, rendered.token_ids, growth)
    outcomes = [outcomes_of(chain, tree, outcome) for tree in trees]
    data = {**node_table(chain, trees, outcomes), **measured(trees, outcomes, growth)}
    dataset = xr.Dataset(data, coords=coordinates(chain, prompts, rendered, growth))
    bare = with_completions(chain, rendered, [()] * len(rendered), "none")
    return with_provenance(
        describe(dataset), analysis="multiverse", battery=prompts.source, **asdict(growth), **provenance(chain, bare)
    )


def coordinates(chain: Chain, prompts: Prompts, rendered: RenderedPrompts, growth: Growth) -> dict[str, Any]:
    """Labels of stages, prompts and depths."""
    return {
        "stage": list(chain.names),
        "step": np.arange(1, growth.depth + 1),
        **prompt_labels(prompts, rendered),
    }


def outcomes_of(chain: Chain, tree: Tree, outcome: Outcome) -> list[str]:
    """What every text that nothing follows comes to; empty for all other nodes."""
    decode = chain.tuned.tokenizer.decode
    found = [""] * len(tree)
    for leaf in np.flatnonzero(~tree.expanded).tolist():
        text = decode(list(tree.tokens(leaf)), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        found[leaf] = outcome(text, bool(tree.ended[leaf]))
    return found


def numbered(tree: Tree, outcomes: Sequence[str]) -> tuple[np.ndarray, int]:
    """The outcome of every node as a number, -1 for nodes that go on, and how many there are."""
    names = {name: n for n, name in enumerate(dict.fromkeys(np.asarray(outcomes)[~tree.expanded].tolist()))}
    return np.where(tree.expanded, -1, [names.get(name, -1) for name in outcomes]), max(1, len(names))


def node_table(chain: Chain, trees: Sequence[Tree], outcomes: Sequence[Sequence[str]]) -> dict[str, Any]:
    """All nodes of all trees; parents are nodes of the whole table."""
    starts = np.cumsum([0, *map(len, trees)])
    tokens = np.concatenate([tree.token for tree in trees])
    used = sorted(set(tokens[tokens >= 0].tolist()))
    strings = {-1: "", **dict(zip(used, token_strings(chain.tuned.tokenizer, used), strict=True))}
    parents = [np.where(tree.parent < 0, -1, tree.parent + start) for tree, start in zip(trees, starts, strict=False)]
    whole = {
        "node_prompt": np.repeat(np.arange(len(trees)), [len(tree) for tree in trees]).astype(np.int32),
        "node_parent": np.concatenate(parents).astype(np.int32),
        "node_depth": np.concatenate([tree.depth for tree in trees]).astype(np.int32),
        "node_token_id": tokens.astype(np.int32),
        "node_token": np.asarray([strings[token] for token in tokens.tolist()], dtype=str),
        "node_ended": np.concatenate([tree.ended for tree in trees]),
        "node_outcome": np.asarray([name for names in outcomes for name in names], dtype=str),
    }
    values = {"node_log_prob": "log_prob", "node_entropy": "entropy", "node_cut": "cut"}
    read = {name: np.concatenate([getattr(tree, kind) for tree in trees], axis=1) for name, kind in values.items()}
    return {
        **{name: ("node", each) for name, each in whole.items()},
        **{name: (("stage", "node"), each.astype(np.float32)) for name, each in read.items()},
    }


def measured(trees: Sequence[Tree], outcomes: Sequence[Sequence[str]], growth: Growth) -> dict[str, Any]:
    """The measures of every tree."""
    each = [measures_of(tree, names, growth) for tree, names in zip(trees, outcomes, strict=True)]
    found = {name: np.stack([one[name] for one in each], axis=1).astype(np.float32) for name in each[0]}
    return {name: (STEPS[: values.ndim], values) for name, values in found.items()}


def measures_of(tree: Tree, outcomes: Sequence[str], growth: Growth) -> dict[str, np.ndarray]:
    """The measures of one tree."""
    steps = growth.depth
    path = measures.path_mass(tree, steps)
    fork = measures.forking(tree, *numbered(tree, outcomes), steps)
    return {
        **{f"{name}_mass": values for name, values in measures.masses(tree, steps).items()},
        "top_mass": measures.top_mass(tree, steps),
        "path_mass": path,
        "n_likely": measures.sizes(tree, steps, growth.least),
        "fork_low": fork.low,
        "fork_high": fork.high,
        "half_life": measures.half_life(path),
        "tree_area": measures.area(tree, steps, growth.least),
    }
