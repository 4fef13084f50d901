"""The proof by intervention: do the located sites, reverted to base weights, undo the collapse and little else?

Base weights go into the first 1, 2, 3, ... located sites of the tuned stage until enough of the lost entropy is back.
Beside the chosen edit stand random sets of as many other changed components, and the plain temperature that gives the
tuned stage the edit's entropy: an edit that only flattens every distribution does to the samples and to the controls
what that temperature does.
"""

from collections.abc import Iterable, Mapping, Sequence

import xarray as xr

from mcinterp.chain import Chain
from mcinterp.completions import Decoding
from mcinterp.effects import LEAST_GAP
from mcinterp.errors import InputError
from mcinterp.intervene.inputs import PromptsLike, require_token
from mcinterp.progress import Progress
from mcinterp.results import describe, with_provenance
from mcinterp.sequences import provenance
from mcinterp.verification.bench import Bench, Values, bench_of
from mcinterp.verification.controls import chosen_controls
from mcinterp.verification.edits import (
    BASE,
    TUNED,
    Edit,
    changed_components,
    chosen_edit,
    growing,
    random_edits,
    site_names,
)
from mcinterp.verification.result import labelled
from mcinterp.verification.tempering import matching_temperature
from mcinterp.verification.writing import written_values
from mcinterp.weights.groups import chosen_groups

SAMPLED_RANDOM = 3


def verify(
    chain: Chain,
    sequences: PromptsLike,
    sites: Sequence[str],
    *,
    reads: Sequence[int] = (0,),
    attractor: int | None = None,
    held_out: PromptsLike | None = None,
    controls: PromptsLike | None = None,
    regain: float = 0.8,
    most_sites: int = 4,
    random_sets: int = 8,
    samples: int = 8,
    new_tokens: int = 16,
    seed: int = 0,
) -> xr.Dataset:
    """Revert the located sites to base weights and read what comes back, beside random sets and a temperature.

    Args:
        chain: A pair or chain; the first stage is the base, the last the tuned one.
        sequences: The prompts on which the collapse was located: texts, prompts, or teacher-forced sequences.
        sites: Names of components (`3.mlp`, `unembed`), best first.
        reads: Positions whose next-token distribution is read, from the last prompt token on; several are averaged.
        attractor: The followed token id; by default the tuned stage's most likely token at every read position.
        held_out: Prompts that were kept aside; they are read and sampled alike, and choose nothing.
        controls: Prompts whose answer must be kept. By default the pocket battery's for a shipped base, else none.
        regain: The share of the lost mean entropy (base minus tuned, located prompts) that is to come back.
        most_sites: How many sites are reverted together at most.
        random_sets: How many random sets of as many other changed components stand beside the chosen edit; none holds
            one of the first `most_sites` sites.
        samples: Samples after every prompt, of the tuned stage, the base, the chosen edit, the temperature, and the
            first three random sets.
        new_tokens: Tokens of a sample, and of a control's answer.
        seed: Chooses the random sets and the random numbers of all samples.

    Returns:
        A dataset over `edit` and `prompt` (with `part`: `located` or `held_out`): `entropy`, `attractor_log_odds`,
        `kl_to_base`, `distinct`, `sample_nll`; and over `edit` and `control`, where there are controls: `control_kl`,
        `control_agreement`. Its attributes say which edit was chosen and how much it gives back.

    Raises:
        InputError: For an unknown site, settings out of range, or where tuning lost less than 0.1 nats of entropy, so
            that nothing can come back.
    """
    check(regain=regain, most_sites=most_sites, random_sets=random_sets, samples=samples, new_tokens=new_tokens)
    names, followed = site_names(sites), require_token(chain, attractor)
    chosen_groups(chain, "component", names)
    kept, controls_from = chosen_controls(chain, controls)
    bench = bench_of(chain, sequences, held_out, kept, reads, followed, new_tokens)
    found = {edit: bench.values(edit) for edit in (TUNED, BASE)}
    lost = lost_entropy(bench, found)
    regained = revert(bench, found, growing(names, most_sites), regain)
    chosen = chosen_edit(regained, regain)
    pool = [name for name in changed_components(chain) if name not in names[:most_sites]]
    others = random_edits(pool, len(chosen.sites), random_sets, seed)
    for edit in Progress(others, desc="random sets", unit="set"):
        found[edit] = bench.values(edit)
    match = matching_temperature(bench.judged.select(range(bench.located)), bench.entropy(found[chosen]))
    tempered = Edit("temperature", "temperature", temperature=match.temperature)
    found[tempered] = bench.values(tempered)
    sampled = [TUNED, BASE, chosen, *others[:SAMPLED_RANDOM], tempered]
    for edit, values in written_values(bench, sampled, Decoding(new_tokens, seed=seed), samples).items():
        found[edit] |= values
    dataset = describe(labelled(bench, found)).assign_attrs(
        chosen=chosen.name, chosen_sites=", ".join(chosen.sites), regain_asked=regain, regain_reached=regained[chosen],
        lost_entropy=lost, temperature_capped=int(match.capped), random_pool=len(pool), controls=controls_from,
    )  # fmt: skip
    return with_provenance(
        dataset, analysis="verify", sites=list(names), reads=list(reads), attractor=attractor, samples=samples,
        new_tokens=new_tokens, seed=seed, controls=None if bench.answers is None else bench.answers.hash,
        **provenance(chain, bench.sequences),
    )  # fmt: skip


def check(*, regain: float, **counts: int) -> None:
    """Refuse settings out of range."""
    if not 0 < regain <= 1:
        raise InputError(f"got regain={regain}; give a share of the lost entropy above 0 and at most 1.")
    few = [name for name, count in counts.items() if count < (0 if name == "random_sets" else 1)]
    if few:
        raise InputError(f"got {few[0]}={counts[few[0]]}; give {0 if few[0] == 'random_sets' else 1} or more.")


def lost_entropy(bench: Bench, found: Mapping[Edit, Values]) -> float:
    """Mean entropy of the base minus the tuned stage's over the located prompts; refused where next to none is lost."""
    lost = bench.entropy(found[BASE]) - bench.entropy(found[TUNED])
    if lost < LEAST_GAP:
        raise InputError(
            f"stage {bench.chain.tuned.name!r} lost {lost:.3g} nats of entropy on these prompts and {LEAST_GAP} are "
            f"wanted at least, for nothing can come back; give prompts on which it collapsed."
        )
    return lost


def revert(bench: Bench, found: dict[Edit, Values], edits: Iterable[Edit], regain: float) -> dict[Edit, float]:
    """The share of the lost entropy that each edit gives back, until one gives back enough; values go into `found`."""
    tuned, lost = bench.entropy(found[TUNED]), lost_entropy(bench, found)
    regained: dict[Edit, float] = {}
    for edit in edits:
        found[edit] = bench.values(edit)
        regained[edit] = (bench.entropy(found[edit]) - tuned) / lost
        if regained[edit] >= regain:
            break
    return regained
