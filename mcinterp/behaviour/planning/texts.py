"""Texts for the probe: a stage's, the base's, and the base's at the temperature where it is as sure as the stage."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mcinterp.behaviour.perturbation.writing import Writer, matched_writer, mean_entropy
from mcinterp.behaviour.planning.settings import Planning
from mcinterp.chain import Chain
from mcinterp.rendering import RenderedPrompts

Ids = tuple[int, ...]
WRITERS = ("base", "matched", "stage")


@dataclass(frozen=True)
class Written:
    """The texts of one writer: prompt and completion of each, its prompt's number, and the entropy of every token."""

    ids: tuple[Ids, ...]
    owners: tuple[int, ...]
    entropies: np.ndarray
    temperature: np.ndarray

    def entropy(self, groups: Sequence[str]) -> np.ndarray:
        """Mean entropy over the written tokens of a prompt's group, in nats, one a prompt."""
        return mean_entropy(self.entropies, self.owners, groups)


def written_for(chain: Chain, rendered: RenderedPrompts, settings: Planning) -> dict[str, dict[str, Written]]:
    """The texts of the three writers of every stage; those of the base itself are the base's throughout."""
    writers = {stage.name: Writer(stage, np.ones(len(rendered)), chain.alignment.context) for stage in chain.stages}
    own = {name: write(writer, rendered, settings) for name, writer in writers.items()}
    base = own[chain.base.name]
    found: dict[str, dict[str, Written]] = {chain.base.name: dict.fromkeys(WRITERS, base)}
    for name in chain.names[1:]:
        surer = matched(writers[chain.base.name], own[name], rendered, settings)
        found[name] = {"base": base, "matched": write(surer, rendered, settings), "stage": own[name]}
    return found


def write(writer: Writer, rendered: RenderedPrompts, settings: Planning) -> Written:
    """The texts of one writer."""
    owners, before, streams = cells(rendered, range(len(rendered)), settings)
    texts = writer.write(before, owners, streams, settings.steps)
    entropies = writer.entropies(before, owners, texts, settings.steps)
    whole = tuple((*start, *text.ids) for start, text in zip(before, texts, strict=True))
    return Written(whole, tuple(owners), entropies, writer.temperatures)


def matched(base: Writer, own: Written, rendered: RenderedPrompts, settings: Planning) -> Writer:
    """The base at the temperatures, one a template, where its mean entropy is that of a stage's texts."""
    groups = list(rendered.templates)
    seen: Counter[str] = Counter()
    prompts = []
    for prompt, template in enumerate(groups):
        if seen[template] < settings.matched_on:
            prompts.append(prompt)
        seen[template] += 1
    owners, before, streams = cells(rendered, prompts, settings)
    return matched_writer(base, own.entropy(groups), groups, before, owners, streams, settings.steps)


def cells(
    rendered: RenderedPrompts, prompts: Sequence[int], settings: Planning
) -> tuple[list[int], list[Sequence[int]], list[tuple[int, ...]]]:
    """The prompt of every text, its tokens, and the name of its random numbers."""
    pairs = [(prompt, sample) for prompt in prompts for sample in range(settings.samples)]
    owners = [prompt for prompt, _ in pairs]
    return owners, [rendered.token_ids[prompt] for prompt in owners], [(settings.seed, *pair) for pair in pairs]
