"""A question that is being answered: what a job computes goes through here, so that it is computed only once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from mcinterp.budget import BUDGET
from mcinterp.chain import Chain
from mcinterp.completions import Decoding
from mcinterp.engines.choosing import engine_for
from mcinterp.engines.interface import Engine, Measure, Place, Shard
from mcinterp.engines.local import LocalEngine
from mcinterp.errors import InputError
from mcinterp.identity import identity_of
from mcinterp.intervene.inputs import as_sequences
from mcinterp.jobs.question import Asked, Question, Say, ask, silent
from mcinterp.placement.determinism import deterministic
from mcinterp.prompts import Prompts
from mcinterp.rendering import RenderedPrompts
from mcinterp.results import provenance_of, with_provenance
from mcinterp.run.directory import Run
from mcinterp.run.manifest import Made
from mcinterp.run.opening import writing
from mcinterp.run.parts import Parts
from mcinterp.run.writing import Existing, Writing
from mcinterp.sequences import Sequences, provenance, teacher_force, with_completions
from mcinterp.shards import bounds_of, joined, part_of
from mcinterp.show.report import write_report
from mcinterp.summary.opening import opening_summary

LOCAL = Place()
GivenPrompts = Prompts | Callable[[Chain], Prompts] | None


@dataclass(frozen=True)
class Job:
    """What was asked, the run that it is written into, and the engine that computes shards."""

    asked: Asked
    run: Writing
    engine: Engine

    @property
    def chain(self) -> Chain:
        """The checkpoints."""
        return self.asked.chain

    @property
    def rendered(self) -> RenderedPrompts:
        """The prompts."""
        return self.asked.rendered

    @property
    def plain(self) -> Sequences:
        """The prompts without completions."""
        return as_sequences(self.chain, self.rendered)

    def say(self, line: str) -> None:
        """Tell what is being done."""
        self.run.say(line)

    def made(self, name: str, compute: Callable[[], xr.Dataset]) -> xr.Dataset:
        """An analysis from all prompts: read where it was made before, else computed and saved."""
        return self.run.made(name, compute)

    def together(self, name: str, make: Callable[[], tuple[Mapping[str, xr.Dataset], Any]]) -> Any:
        """Several analyses made at once, and what was found: read where all is there, else made and saved."""
        return self.run.together(name, make)

    def sharded(self, name: str, measure: Measure, sequences: Sequences) -> xr.Dataset:
        """An analysis made shard by shard: shards made before are read, the rest computed, and all put together."""
        bounds, kept, parts = self.run.bounds, self.run.manifest.parts, self.run.parts
        if len(bounds) == 1 and isinstance(self.engine, LocalEngine):
            return self.made(name, lambda: measure(self.asked, sequences))
        if self.run.manifest.intact(f"{name}.nc"):
            return self.run.run.load(name)
        names = [f"{name}-{number:04d}" for number in range(len(bounds))]
        there = {each for each in names if each in kept and parts.read(each, kept[each]) is not None}
        shards = [Shard(each, part_of(sequences, *ends)) for each, ends in zip(names, bounds, strict=True)]
        for written in self.engine.run(measure, [shard for shard in shards if shard.name not in there], parts):
            self.run.keep_part(*written)
            there.add(written.name)
            self.say(f"{name}: shard {len(there)} of {len(names)}")
        whole = joined([part_read(parts, each, kept) for each in names], token_ids_sha256=sequences.hash)
        saved = self.run.save(name, whole)
        self.run.drop_parts(names)
        return saved

    def completed(self, decoding: Decoding, by: str | None = None) -> Sequences:
        """The prompts with what one stage writes after each (the last unless named), kept as `completions.nc`.

        Sampled completions are written in one shard, for a prompt's random numbers follow from its place among all.
        """
        write = partial(completions_of, decoding, by)
        if decoding.temperature > 0:
            written = self.made("completions", lambda: write(self.asked, self.plain))
        else:
            written = self.sharded("completions", write, self.plain)
        sequences = sequences_from(self.chain, self.rendered, written)
        self.run.update(completed_token_ids_sha256=sequences.hash)
        return sequences

    def sequences(self, read_at: Sequence[int], written_by: str | None = None) -> Sequences:
        """The prompts, with a completion of one stage (the last unless named) as long as the read positions need."""
        furthest = max(read_at, default=0)
        return self.plain if furthest < 1 else self.completed(Decoding(furthest), written_by)

    def reads_in_shards(self, sequences: Sequences, read_at: Sequence[int]) -> bool:
        """Whether every shard has a sequence that reaches the last of the positions that are read."""
        furthest = max(read_at)
        return all(max(map(len, sequences.completions[start:stop])) >= furthest for start, stop in self.run.bounds)


def part_read(parts: Parts, name: str, kept: Mapping[str, Made]) -> xr.Dataset:
    """A part that was written in this run; `InputError` where it is gone."""
    found = parts.read(name, kept[name])
    if found is None:
        raise InputError(f"part {parts.of(name)} is not as it was written; run again with --resume to make it again.")
    return found


def completions_of(decoding: Decoding, by: str | None, asked: Asked, sequences: Sequences) -> xr.Dataset:
    """What one stage writes after each prompt, as token ids by position (1 is the first behind the prompt)."""
    written = teacher_force(asked.chain, sequences.prompts, decoding, by=by)
    grid = np.full((len(written), max(1, *(len(each) for each in written.completions))), -1, np.int32)
    for row, ids in enumerate(written.completions):
        grid[row, : len(ids)] = ids
    about = {"units": "token id", "long_name": "what was written after the prompt; -1 behind its end"}
    dataset = xr.Dataset(
        {"completion_id": (("prompt", "position"), grid, about)},
        {"prompt": np.arange(len(written)), "position": np.arange(1, grid.shape[1] + 1),
         "text": ("prompt", list(written.prompts.texts))},
    )  # fmt: skip
    record = provenance(asked.chain, sequences) | {"completions": written.written_by}
    return with_provenance(dataset, analysis="completions", **record)


def sequences_from(chain: Chain, rendered: RenderedPrompts, written: xr.Dataset) -> Sequences:
    """The prompts with completions that were kept."""
    ids = [[index for index in row if index >= 0] for row in written["completion_id"].values.tolist()]
    return with_completions(chain, rendered, ids, str(provenance_of(written)["completions"]))


def answer(
    question: Question,
    out: str | Path,
    found_by: Callable[[Job], dict[str, Any]],
    *,
    prompts: GivenPrompts = None,
    say: Say = silent,
    existing: Existing = "refuse",
    place: Place = LOCAL,
) -> Run:
    """Answer a question in the run directory `out`: open it, load what is asked, compute what is not there, write.

    `found_by` computes the entries of the summary. An earlier run there is refused, resumed or replaced; replaced only
    once the first new result is ready. Raises `InputError` for anything wrong with the question or the directory.
    """
    with writing(out, existing, say) as run, deterministic(question.deterministic):
        asked = ask(question, prompts, run.say)
        run.place = place.parts
        chain, shards = asked.chain, bounds_of(len(asked.rendered), question.shard_size)
        identity = identity_of(question, chain, asked.rendered, asked.source)
        record = {
            "question": {**asdict(question), "prompts": asked.source, "n_prompts": len({*asked.rendered.prompt_index})},
            "alignment": asked.alignment.to_dict(),
            "checkpoints": [
                stage.checkpoint.provenance() | {"fingerprint": identity["checkpoints"][stage.name]}
                for stage in chain.stages
            ],
            "token_ids_sha256": as_sequences(chain, asked.rendered).hash,
            "skipped": list(asked.given.skipped),
        }
        if run.identify(identity, shards, **record):
            run.say("finished before: nothing was computed again")
            return Run(run.path, made_before=True)
        BUDGET.share = run.record.get("batch_share", BUDGET.share)
        gpus = int(any(stage.placed.startswith("cuda") for stage in chain.stages))
        engine = engine_for(place, asked, partial(ask, question, asked.given), gpus=gpus)
        found = found_by(Job(asked, run, engine))
        return run.finish(summary_of(asked, found), write_report)


def summary_of(asked: Asked, found: Mapping[str, Any]) -> dict[str, Any]:
    """What was found, after what every summary opens with; entries of `prompts` are added to the prompts' own."""
    opening = opening_summary(asked.chain.names, asked.rendered, asked.alignment.to_dict())
    more = found.get("prompts", [{} for _ in opening["prompts"]])
    prompts = [one | other for one, other in zip(opening["prompts"], more, strict=True)]
    return {**opening, **found, "prompts": prompts}
