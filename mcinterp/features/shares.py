"""Feature by feature: how active it is in each stage, how that changes, and what it has of the difference."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from mcinterp.chain import Chain
from mcinterp.features.activations import Rows, all_rows
from mcinterp.features.autoencoder import Code, SparseAutoencoder
from mcinterp.features.parts import parts_of
from mcinterp.sequences import Sequences
from mcinterp.statistics import Interval, bootstrap, mean_over_prompts


def differences(
    chain: Chain, sequences: Sequences, columns: Sequence[Sequence[int]], sae: SparseAutoencoder
) -> xr.Dataset:
    """What `mcinterp.features.comparison.compare_features` says of activations and of the difference."""
    table = Table(chain, sequences, sae)
    base = chosen(chain, 0, sequences, columns, sae)
    codes = [sae.read(rows) for rows in base]
    for number in range(len(chain.stages)):
        other = base if number == 0 else chosen(chain, number, sequences, columns, sae)
        for prompt, (own, rows) in enumerate(zip(base, other, strict=True)):
            code = codes[prompt] if number == 0 else sae.read(rows)
            table.take(number, prompt, own, rows, (codes[prompt], code))
    return table.dataset()


def chosen(
    chain: Chain, number: int, sequences: Sequences, columns: Sequence[Sequence[int]], sae: SparseAutoencoder
) -> list[Rows]:
    """A stage's activations at the chosen tokens, prompt by prompt."""
    found = all_rows(chain.stages[number], sequences.ids, sae.hook, sae.width)
    return [rows[list(c)] for rows, c in zip(found, columns, strict=True)]


class Table:
    """Sums and means by prompt, filled as stages are read; parts are means over the tokens of a prompt."""

    names: list[str]
    templates: tuple[str, ...]
    activation: np.ndarray
    frequency: np.ndarray
    part: np.ndarray
    rest: np.ndarray
    whole: np.ndarray
    complete: np.ndarray

    def __init__(self, chain: Chain, sequences: Sequences, sae: SparseAutoencoder) -> None:
        self.names, self.templates = list(chain.names), sequences.prompts.templates
        shape = (len(sequences), len(self.names), sae.n_features)
        self.sae = sae
        self.activation, self.frequency, self.part = (np.zeros(shape, dtype=np.float32) for _ in range(3))
        self.rest, self.whole = np.zeros(shape[:2]), np.zeros(shape[:2])
        self.complete = np.zeros(shape[:2])

    def take(self, number: int, prompt: int, own: Rows, rows: Rows, codes: tuple[Code, Code]) -> None:
        """Enter one prompt of one stage, beside the first stage's."""
        at, values = (prompt, number), codes[1].activations
        self.activation[at] = values.mean(dim=0).cpu().numpy()
        self.frequency[at] = (values > 0).float().mean(dim=0).cpu().numpy()
        found = parts_of(self.sae, own, rows, codes)
        count = len(values)
        self.part[at][found.features.numpy()] = (found.of_features / count).numpy()
        self.rest[at], self.whole[at] = found.of_rest / count, found.whole / count
        self.complete[at] = (float(found.of_features.sum()) + found.of_rest - found.whole) / count

    def dataset(self) -> xr.Dataset:
        """Means over prompts with their intervals; those of features that are never active are exact zeros."""
        active = np.flatnonzero(self.frequency.any(axis=(0, 1)))
        change = self.activation - self.activation[:, :1]
        data: dict[str, tuple[tuple[str, ...], np.ndarray]] = {
            "feature_activation": (("stage", "feature"), mean_over_prompts(self.activation)),
            "feature_frequency": (("stage", "feature"), mean_over_prompts(self.frequency)),
        }
        for name, value in self.intervals(change, active).named("feature_activation_change").items():
            data[name] = (("stage", "feature"), value)
        for name, value in self.share(self.part, active).named("difference_share").items():
            data[name] = (("stage", "feature"), value)
        for name, value in self.share(self.rest[..., None], np.arange(1)).named("error_share").items():
            data[name] = (("stage",), value[:, 0])
        whole = self.whole.mean(axis=0)
        data["difference_norm"] = (("stage",), np.sqrt(whole))
        data["completeness_error"] = (("stage",), np.abs(self.complete.mean(axis=0)) / np.where(whole > 0, whole, 1))
        coords = {"stage": self.names, "feature": np.arange(self.sae.n_features)}
        return xr.Dataset({name: (dims, np.asarray(v, np.float32)) for name, (dims, v) in data.items()}, coords=coords)

    def intervals(self, values: np.ndarray, active: np.ndarray) -> Interval:
        """Mean and interval of values over prompt, stage and feature, the inactive ones zero without a bootstrap."""
        found = bootstrap(values[..., active].astype(float), self.templates)
        full = [np.zeros(values.shape[1:], dtype=np.float32) for _ in found]
        for whole, end in zip(full, found, strict=True):
            whole[:, active] = end
        return Interval(*full)

    def share(self, parts: np.ndarray, active: np.ndarray) -> Interval:
        """Mean part over mean whole, with its interval; missing in a stage without a difference."""
        both = np.concatenate([parts[..., active], self.whole[..., None]], axis=-1).astype(float)
        found = bootstrap(both, self.templates, share_of_whole)
        there = (self.whole.mean(axis=0) > 0)[:, None]
        full = [np.where(there, np.zeros(parts.shape[1:]), np.nan) for _ in found]
        for whole, end in zip(full, found, strict=True):
            whole[:, active] = end[:, :-1]
        return Interval(*full)


def share_of_whole(both: np.ndarray) -> np.ndarray:
    """Mean over prompts of every entry of the last axis, over that of its last entry."""
    mean = mean_over_prompts(both)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(mean[..., -1:] > 0, mean / mean[..., -1:], np.nan)
