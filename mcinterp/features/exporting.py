"""Activations as files that a sparse autoencoder can be trained on elsewhere, SAELens' own environment for one.

The folder holds `activations.json` and safetensors files. SAELens' `SAETrainer` takes any iterator of tensors (its
`DataProvider`); `experiments/saelens/train.py` makes one of the files.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from mcinterp.budget import halving
from mcinterp.chain import Chain, Stage
from mcinterp.errors import InputError, first_line
from mcinterp.features.activations import rows_of
from mcinterp.features.autoencoder import width_of
from mcinterp.intervene.sites import SITES, hook_name, require_sites
from mcinterp.results import library_versions, write_json, write_whole
from mcinterp.sequences import Sequences

HEADER, FORMAT = "activations.json", "mcinterp-activations"
SHARD_TOKENS = 2**17
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@halving
def export_activations(
    stages: Chain | Stage,
    sequences: Sequences | Sequence[Sequence[int]],
    site: str,
    layer: int,
    folder: str | Path,
    *,
    dtype: str = "float32",
    skip: int = 0,
    shard_tokens: int = SHARD_TOKENS,
) -> Path:
    """Write the activations of some sequences at one place, with the token ids they belong to.

    Args:
        stages: A stage, or a chain, whose stages are written one after the other.
        sequences: Prompts with completions, or token ids.
        site: A name of `mcinterp.intervene.sites.SITES` with one vector a token (heads are put side by side).
        layer: The layer.
        folder: A new or empty directory.
        dtype: `float32`, `float16` or `bfloat16`.
        skip: First tokens of every sequence to leave out (1: the beginning-of-text token, which may be huge).
        shard_tokens: Tokens of a file at most; one sequence is never split.

    Returns:
        The header's path, `activations.json`: format, hook, width, stages with their provenance, versions, and the
        files. Each file holds `activations` (token x width), and over token `token_ids`, `sequence` (its number) and
        `column`. The files of a stage stand in the order of the header.

    Raises:
        InputError: For a site or layer that does not exist, another dtype, no token at all, or a directory that is not
            empty or cannot be written.
    """
    chosen = stages.stages if isinstance(stages, Chain) else (stages,)
    require_export(chosen, site, layer, dtype, shard_tokens, skip)
    ids = [tuple(int(i) for i in each) for each in (sequences.ids if isinstance(sequences, Sequences) else sequences)]
    if not any(len(each) > skip for each in ids):
        raise InputError(f"no token is left of {len(ids)} sequences without the first {skip}; give longer ones.")
    where, files, width = new_folder(folder), [], 0
    for stage in chosen:
        for number, shard in enumerate(shards(stage, ids, site, layer, skip, shard_tokens, DTYPES[dtype])):
            name = f"{stage.name}-{number:05d}.safetensors"
            write_whole(where / name, lambda file, shard=shard: save_file(shard, file))
            width = shard["activations"].shape[1]
            files.append({"file": name, "stage": stage.name, "tokens": len(shard["token_ids"])})
    header = {
        "format": FORMAT,
        "hook_name": hook_name(site, layer),
        "site": site,
        "layer": layer,
        "d_in": width,
        "dtype": dtype,
        "skipped": skip,
        "sequences": len(ids),
        "stages": {stage.name: stage.checkpoint.provenance() for stage in chosen},
        "versions": library_versions(),
        "files": files,
    }
    return write_json(where / HEADER, header)


def require_export(stages: Sequence[Stage], site: str, layer: int, dtype: str, shard_tokens: int, skip: int) -> None:
    """Refuse places, precisions and sizes that mean nothing."""
    if site not in SITES or SITES[site].axis not in ("token", "head", "neuron") or site == "final_scale":
        raise InputError(f"site {site!r} has no vector a token inside the layers; give resid_post or another that has.")
    for stage in stages:
        require_sites(stage, [site])
        if not 0 <= layer < stage.n_layers:
            raise InputError(f"layer {layer} was asked for and the model has 0 to {stage.n_layers - 1}; choose inside.")
    if dtype not in DTYPES:
        raise InputError(f"dtype {dtype!r} is unknown; give one of {', '.join(DTYPES)}.")
    if shard_tokens < 1 or skip < 0:
        raise InputError(f"got shard_tokens={shard_tokens} and skip={skip}; give at least 1 and 0.")


def new_folder(folder: str | Path) -> Path:
    """An empty directory, made where it is not there."""
    where = Path(folder).expanduser()
    try:
        where.mkdir(parents=True, exist_ok=True)
        filled = any(where.iterdir())
    except OSError as error:
        raise InputError(f"directory {str(folder)!r} cannot be made ({first_line(error)}); give another.") from error
    if filled:
        raise InputError(f"directory {str(folder)!r} is not empty; give a new one, so that no files are mixed.")
    return where


def shards(
    stage: Stage, ids: Sequence[tuple[int, ...]], site: str, layer: int, skip: int, most: int, dtype: torch.dtype
) -> Iterator[dict[str, torch.Tensor]]:
    """What each file of a stage holds."""
    waiting: list[dict[str, torch.Tensor]] = []
    for index, rows in rows_of(stage, ids, hook_name(site, layer), width_of(stage, site)):
        if len(rows) <= skip:
            continue
        size = sum(len(part["token_ids"]) for part in waiting)
        if waiting and size + len(rows) - skip > most:
            yield joined(waiting)
            waiting = []
        columns = torch.arange(skip, len(rows), dtype=torch.int32)
        tokens = torch.tensor(ids[index][skip:], dtype=torch.int32)
        numbers = torch.full_like(columns, index)
        kept: dict[str, Any] = {"activations": rows[skip:].to(dtype), "token_ids": tokens}
        waiting.append({**kept, "sequence": numbers, "column": columns})
    if waiting:
        yield joined(waiting)


def joined(parts: Sequence[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Several sequences' tensors one behind the other."""
    return {name: torch.cat([part[name] for part in parts]).contiguous() for name in parts[0]}
