"""Sweeps of stages whose layers are read from disk: many batches go through a layer before the next is read.

Where layers are streamed, all stages go through a layer together, as in one batch. Where one model is in memory at a
time, a stage runs through all its layers, and the activations that other stages need of it wait on disk; a stage that
both gives to and takes from one that comes after it runs twice, first its clean tokens alone. The calls of a layer, and
so the numbers, are those of the sweep that has all models in memory.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import groupby

from mcinterp.batching import waves
from mcinterp.capture import bytes_a_token
from mcinterp.intervene.clean_rows import CleanRows, CleanRowsOnDisk
from mcinterp.intervene.means import MeanTable
from mcinterp.intervene.plan import Batch, Plan
from mcinterp.intervene.sweep import Ends, Finals, Sweep, Tick, lay_out
from mcinterp.placement.activation_store import ActivationStore

Pass = tuple[int, bool]


def run_in_turns(
    plan: Plan, batches: Sequence[Batch], means: MeanTable, tick: Tick
) -> Iterator[tuple[Batch, Ends | Finals]]:
    """The clean ends of every batch and its branches' distributions; see `mcinterp.intervene.sweep.run_sweep`."""
    alone = any(stage.hold.placement == "one" for stage in plan.chain.stages)
    width = sum(bytes_a_token(stage, 1) for stage in plan.chain.stages)
    for wave in waves(batches, lambda batch: width * tokens_of(plan, batch), plan.chain.hold.wave_bytes):
        store = ActivationStore(dtype=plan.chain.hold.store)
        sweeps = [
            lay_out(plan, batch, means, CleanRowsOnDisk(store, n) if alone else CleanRows())
            for n, batch in enumerate(wave)
        ]
        if alone:
            for order, alike in groupby(sorted(sweeps, key=passes_of), key=passes_of):
                one_by_one(list(alike), order, tick)
        else:
            together(sweeps, plan.chain.base.n_layers, tick)
        for sweep in sweeps:
            with hooked(sweep, plan.chain.base.n_layers):
                yield sweep.batch, sweep.ends()
                for finals in sweep.finals():
                    yield sweep.batch, finals


def tokens_of(plan: Plan, batch: Batch) -> int:
    """Tokens that a batch computes: its sequences and its branches."""
    clean = sum(len(plan.ids[sequence]) for sequence in batch.sequences)
    return clean + sum(max(plan.read_columns(b.sequence)) - min(b.columns) + 1 for b in batch.branches)


def together(sweeps: Sequence[Sweep], n_layers: int, tick: Tick) -> None:
    """All batches and all stages through one layer after the other."""
    for layer in range(n_layers):
        for sweep in sweeps:
            with hooked(sweep, layer):
                sweep.advance(layer)
            for run in sweep.runs.values():
                run.store.clear()
            tick()


def passes_of(sweep: Sweep) -> list[Pass]:
    """Stages in the order in which each can run through all its layers; with True, only to give.

    A stage whose donors come after it runs its clean tokens first, for the others, and all of itself at the end.
    """
    done, order, pending = set[int](), list[Pass](), list[int]()
    for number, run in sweep.runs.items():
        whole = run.donors() <= done
        order.append((number, not whole))
        done.add(number)
        pending += [] if whole else [number]
    return [*order, *((number, False) for number in pending)]


def one_by_one(sweeps: Sequence[Sweep], order: Sequence[Pass], tick: Tick) -> None:
    """All batches of one stage through all its layers, then the next stage."""
    n_layers = sweeps[0].plan.chain.base.n_layers
    for place, (number, giving) in enumerate(order):
        for layer in range(n_layers):
            for sweep in sweeps:
                with hooked(sweep, layer, number):
                    advance_alone(sweep, number, layer, giving=giving)
                if place == len(order) - 1:
                    tick()


def advance_alone(sweep: Sweep, number: int, layer: int, *, giving: bool) -> None:
    """One layer of one stage, by the calls that `Sweep.advance` makes for it."""
    run = sweep.runs[number]
    if layer == 0:
        run.restart()
        if isinstance(sweep.clean_rows, CleanRowsOnDisk):
            sweep.clean_rows.begin_again(number)
    alive = run.begin(layer)
    before = set(list(sweep.runs)[: list(sweep.runs).index(number)])
    at_once = run.waits_for(layer) <= before
    run.enter(layer, alive, trunk=True, branches=at_once and not giving)
    if not giving:
        if not at_once:
            run.enter(layer, alive, trunk=False, branches=True)
        run.editor.require_applied(layer)
    run.store.clear()
    sweep.clean_rows.drop()


@contextmanager
def hooked(sweep: Sweep, layer: int, only: int | None = None) -> Iterator[None]:
    """Hold the hooks of one layer of a sweep, of all its stages or of one."""
    with ExitStack() as hooks:
        for number, run in sweep.runs.items():
            if only is None or number == only:
                hooks.enter_context(run.stage.bridge.hooks(fwd_hooks=run.editor.hooks(layer)))
        yield
