"""Attractor strings of a task: what is written whatever the input, in which form, and how it ends.

From the comments to "Mysteries of mode collapse": all letters are described in the same words, any Morse spells one
phrase, every day has one date, poems come in rhymed fours, stories and essays end well. The string is chosen on the
even samples and counted on the odd ones, so that the best of many is not read off where it was found; the base at equal
sampling and the same words shuffled say what choosing one gives anyway.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import xarray as xr

from mcinterp.behaviour.labels import genres_of, prompt_labels
from mcinterp.behaviour.perturbation.measures import sentences
from mcinterp.chain import Chain
from mcinterp.completions import Decoding
from mcinterp.diversity import form, substrings
from mcinterp.diversity.sentiment import sentiment
from mcinterp.errors import InputError
from mcinterp.prompts import Prompts
from mcinterp.rendering import RenderedPrompts
from mcinterp.results import describe, provenance_of, with_provenance
from mcinterp.samples import sample_stages

CELL, WRITTEN = ("stage", "prompt"), ("stage", "prompt", "sample")
OF_TEXT = ("n_lines", "in_fours", "rhymed_share", "ending_sentiment", "uplifting")


@dataclass(frozen=True)
class Reading:
    """How much is sampled of every prompt and stage, and how strings are looked for.

    `samples` texts of at most `max_new_tokens` at `temperature`; strings of 1 to `longest` words; chance is the mean of
    `shuffles` times.
    """

    samples: int = 8
    max_new_tokens: int = 64
    temperature: float = 1.0
    seed: int = 0
    longest: int = 8
    shuffles: int = 5

    def __post_init__(self) -> None:
        if self.samples < 2 or self.longest < 1 or self.shuffles < 1:
            raise InputError(
                f"got samples={self.samples}, longest={self.longest} and shuffles={self.shuffles}; "
                f"give 2 or more samples, and 1 or more of the others."
            )

    @property
    def decoding(self) -> Decoding:
        """How samples are written."""
        return Decoding(self.max_new_tokens, self.temperature, self.seed)


DEFAULT = Reading()


def strings(
    chain: Chain, prompts: Prompts, settings: Reading = DEFAULT, *, rendering: Literal["raw", "chat"] = "raw"
) -> xr.Dataset:
    """The modal string of every task (a genre of the battery) and stage, and form and ending of every sample.

    Over `stage, prompt, length` (words): `modal_share`, the odd samples that hold the stage's own modal string;
    `modal_share_by_chance`, the same with the task's words shuffled; `modal_share_of_base`, the base's odd samples that
    hold the stage's string. Over `stage, task, length`: `modal_string`. Over `stage, prompt, sample`: `completion`,
    `n_lines`, `in_fours`, `rhymed_share`, `ending_sentiment` and `uplifting`, those five missing where the text did
    not `end`. Strings that every prompt of the task holds do not count.

    Raises `InputError` for settings that cannot be used and prompts that do not fit the context.
    """
    rendered = chain.render(prompts, rendering)
    samples = sample_stages(chain, rendered, settings.decoding, samples=settings.samples, scored=False)
    dataset = samples[["completion", "ended", "n_tokens"]]
    dataset = dataset.assign_coords(labels(prompts, rendered, settings))
    dataset = dataset.assign(modal_strings(dataset, rendered, settings)).assign(form_and_ending(dataset))
    record = {**provenance_of(samples), **asdict(settings), "analysis": "strings", "battery": prompts.source}
    return with_provenance(describe(dataset), **record, rendering=rendering)


def labels(prompts: Prompts, rendered: RenderedPrompts, settings: Reading) -> dict[str, Any]:
    """Names of everything, and what the battery says of every prompt."""
    return {
        **prompt_labels(prompts, rendered),
        "task": list(dict.fromkeys(genres_of(prompts, rendered))),
        "length": np.arange(1, settings.longest + 1),
    }


def modal_strings(dataset: xr.Dataset, rendered: RenderedPrompts, settings: Reading) -> dict[str, xr.Variable]:
    """The modal strings of every task, stage and length, and how many samples hold them."""
    texts = dataset["completion"].transpose(*WRITTEN).values
    spoken = [[[substrings.words(text) for text in cell] for cell in stage.tolist()] for stage in texts]
    asked = [substrings.words(text) for text in rendered.texts]
    lengths = dataset["length"].values.tolist()
    shares = np.zeros((3, *texts.shape[:2], len(lengths)), dtype=np.float32)
    found = np.full((len(texts), dataset.sizes["task"], len(lengths)), "", dtype=object)
    for number, task in enumerate(dataset["task"].values.tolist()):
        members = np.flatnonzero(dataset["genre"].values == task)
        for column, n in enumerate(lengths):
            without = substrings.in_every_prompt([asked[p] for p in members], n)
            base = [spoken[0][p] for p in members]
            for stage in range(len(texts)):
                own = [spoken[stage][p] for p in members]
                run, shares[:2, stage, members, column] = chosen_and_counted(own, n, without, settings)
                shares[2, stage, members, column] = substrings.holding([each[1::2] for each in base], run)
                found[stage, number, column] = " ".join(run)
    how = f"{settings.samples} samples, chosen on the even and counted on the odd ones"
    names = ("modal_share", "modal_share_by_chance", "modal_share_of_base")
    variables = {
        name: xr.Variable((*CELL, "length"), each, {"settings": how}) for name, each in zip(names, shares, strict=True)
    }
    return variables | {"modal_string": xr.Variable(("stage", "task", "length"), found.astype(str), {"settings": how})}


def chosen_and_counted(
    task: list[list[substrings.Words]], n: int, without: set[substrings.Words], settings: Reading
) -> tuple[substrings.Words, np.ndarray]:
    """The modal string of the even samples; the share of odd ones that hold it, and the same of shuffled samples."""

    def choose(outputs: list[list[substrings.Words]]) -> tuple[substrings.Words, np.ndarray]:
        run = substrings.modal([each[::2] for each in outputs], n, without)
        return run, substrings.holding([each[1::2] for each in outputs], run)

    run, share = choose(task)
    random = np.random.default_rng(settings.seed)
    chance = [choose(substrings.shuffled(task, random))[1] for _ in range(settings.shuffles)]
    return run, np.stack([share, np.mean(chance, axis=0)])


def form_and_ending(dataset: xr.Dataset) -> dict[str, xr.Variable]:
    """Lines, rhymes and the sentiment of the last sentence of every sample that ended."""
    texts, ended = (dataset[name].transpose(*WRITTEN).values for name in ("completion", "ended"))
    values = np.full((len(OF_TEXT), *texts.shape), np.nan, dtype=np.float32)
    for cell in zip(*np.nonzero(ended), strict=True):
        values[:, *cell] = of_text(str(texts[cell]))
    how = "samples that ended; rules and word list of mcinterp.diversity.form and mcinterp.diversity.sentiment"
    return {name: xr.Variable(WRITTEN, each, {"settings": how}) for name, each in zip(OF_TEXT, values, strict=True)}


def of_text(text: str) -> tuple[float, ...]:
    """Every measure of one text, in the order of `OF_TEXT`."""
    last = sentences(text, ended=True)[-1:]
    mood = sentiment(last[0]) if last else float("nan")
    return float(len(form.lines(text))), float(form.in_fours(text)), form.rhymed_share(text), mood, float(mood > 0)
