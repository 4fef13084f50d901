"""Which features of a sparse autoencoder carry the difference between stages at a place, and which of them matter."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from mcinterp.budget import halving
from mcinterp.chain import Chain
from mcinterp.errors import InputError
from mcinterp.features.autoencoder import SparseAutoencoder
from mcinterp.features.effects import effects_of
from mcinterp.features.runs import columns_of
from mcinterp.features.shares import differences
from mcinterp.features.splicing import PROMPT_FIGURES, explained_variance, quality_of
from mcinterp.intervene.inputs import PromptsLike, as_sequences, reads_of, require_token
from mcinterp.intervene.metrics import OF_ONE_RUN
from mcinterp.intervene.patching import BOTH
from mcinterp.intervene.places import PositionChoice
from mcinterp.intervene.plan import directions_of
from mcinterp.results import describe, with_provenance
from mcinterp.sequences import Sequences, provenance
from mcinterp.statistics import bootstrap

MUCH_LOWER = 0.1
COMPLETENESS = "|mean sum of the parts - mean squared difference| / mean squared difference"


@halving
def compare_features(
    chain: Chain,
    prompts: PromptsLike,
    sae: SparseAutoencoder,
    *,
    tokens: PositionChoice = "all",
    skip: int = 0,
    top: int = 10,
    positions: PositionChoice = "last",
    directions: Sequence[str] = BOTH,
    metric: str = "attractor_log_odds",
    read_at: int = 0,
    attractor: int | None = None,
) -> xr.Dataset:
    """Compare the stages of a chain feature by feature, on exactly the same tokens.

    Args:
        chain: A pair or chain of checkpoints.
        prompts: Texts, prompts, rendered prompts, or teacher-forced sequences.
        sae: The autoencoder (`mcinterp.load_sae`), which names the place.
        tokens: Tokens over which activations, differences and the reconstruction are taken; see `mcinterp.patch`.
        skip: First tokens of every sequence that are left out there (1: the beginning-of-text token).
        top: Features, those of the largest estimates, whose effect is also found by a real patch.
        positions: Tokens at which a feature is patched for its effect; see `mcinterp.patch`.
        directions: See `mcinterp.patch`.
        metric: `entropy`, `attractor_log_prob` or `attractor_log_odds`: what effects are on.
        read_at: The position whose distribution is read.
        attractor: The followed token id; by default the later stage's most likely token.

    Returns:
        A dataset; intervals (`_low`, `_high`, 95 %) are over templates. Over `stage, feature`: `feature_activation`
        (mean over tokens, then prompts), `feature_frequency` (share of tokens at which it is active), and against the
        first stage `feature_activation_change` and `difference_share`, the share of the squared difference at the place
        that lies along the feature's decoder direction (see `mcinterp.features.parts`), missing where there is no
        difference. Over `stage`: `error_share`, that of all that is no feature, so that shares sum to one
        (`completeness_error` says how nearly), `difference_norm` (root mean square), and of the reconstruction
        `explained_variance`, `l0`, `splice_kl` and `splice_entropy_change`. Over `direction, feature`, in nats:
        `estimate`, the first-order effect of patching the feature, and `feature_effect`, the real one (missing beyond
        `top`); over `direction` the `donor_gap`. The attribute `noise_floor` is in nats; `reconstruction` says in a
        sentence whether the autoencoder holds in every stage.

    Warns:
        UserWarning: Where a stage's explained variance is more than 0.1 below the first stage's: its features then say
            less of that stage.

    Raises:
        InputError: For an autoencoder that does not fit, or places, stages, tokens or metrics that do not exist.
    """
    for stage in chain.stages:
        sae.require_fits(stage)
    if metric not in OF_ONE_RUN:
        raise InputError(f"metric {metric!r} is unknown; give {', '.join(OF_ONE_RUN)}.")
    if top < 0 or skip < 0:
        raise InputError(f"got top={top} and skip={skip}; give numbers from 0.")
    sequences, followed = as_sequences(chain, prompts), require_token(chain, attractor)
    (read,), ways = reads_of(sequences, read_at), directions_of(chain, directions, same_run=True)
    columns = chosen_columns(sequences, tokens, skip)
    dataset = differences(chain, sequences, columns, sae).assign(reconstruction(chain, sequences, columns, sae))
    effects = effects_of(chain, ways, sequences, sae, positions, read, followed, metric, top)
    dataset = xr.merge([dataset, effects], combine_attrs="drop_conflicts", join="exact", compat="no_conflicts")
    dataset.attrs |= {"reconstruction": said_of(dataset), "noise_floor": effects.attrs["noise_floor"]}
    describe(dataset)["completeness_error"].attrs["long_name"] = COMPLETENESS
    return with_provenance(
        dataset, analysis="compare_features", metric=metric, tokens=str(tokens), skip=skip, top=top,
        positions=str(positions), read_at=read, autoencoder=facts(sae), **provenance(chain, sequences),
    )  # fmt: skip


def facts(sae: SparseAutoencoder) -> dict[str, Any]:
    """What a result says of an autoencoder."""
    return {
        "activation": sae.activation,
        "site": sae.site,
        "layer": sae.layer,
        "features": sae.n_features,
        "sha256": sae.fingerprint,
        "description": sae.description,
    }


def chosen_columns(sequences: Sequences, tokens: PositionChoice, skip: int) -> list[list[int]]:
    """The columns of each sequence that statistics are of; none may be empty."""
    found = [columns_of(sequences, i, tokens, len(ids), skip=skip) for i, ids in enumerate(sequences.ids)]
    empty = [index for index, columns in enumerate(found) if not columns]
    if empty:
        raise InputError(
            f"no token of sequence {empty[0]} is left of tokens={tokens!r} without the first {skip}; choose more."
        )
    return found


def reconstruction(
    chain: Chain, sequences: Sequences, columns: Sequence[Sequence[int]], sae: SparseAutoencoder
) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
    """How well the autoencoder reconstructs every stage, with intervals over templates."""
    each = [quality_of(stage, sequences.ids, columns, sae) for stage in chain.stages]
    found = {name: np.stack([one[name] for one in each], axis=-1) for name in PROMPT_FIGURES}
    templates = sequences.prompts.templates
    intervals = {name: bootstrap(found[name], templates) for name in PROMPT_FIGURES[:3]}
    sums = np.stack([found["squared_error"], found["squared_spread"]], axis=1)
    intervals["explained_variance"] = bootstrap(sums, templates, explained_variance)
    return {
        key: (("stage",), value.astype(np.float32))
        for name, interval in intervals.items()
        for key, value in interval.named(name).items()
    }


def said_of(dataset: xr.Dataset) -> str:
    """Whether the autoencoder holds in every stage; also warns where it does not."""
    explained = dataset["explained_variance"].to_series()
    said = ", ".join(f"{value:.3f} in {name}" for name, value in explained.items())
    worse = [str(name) for name, value in explained.items() if value < explained.iloc[0] - MUCH_LOWER]
    if not worse:
        return f"The autoencoder explains of the variance {said}."
    found = (
        f"The autoencoder explains of the variance {said}: much less in {', '.join(worse)}, whose difference its "
        f"features may miss; read error_share, and train on activations of all stages."
    )
    warnings.warn(found, stacklevel=4)
    return found
