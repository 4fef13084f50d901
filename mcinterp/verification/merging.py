"""A collapse undone for good: the tuned checkpoint with the base's weights at some sites, saved like any other."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig
from transformers.utils.hub import cached_file

from mcinterp.chain import Chain
from mcinterp.checkpoints import Checkpoint, reading
from mcinterp.errors import InputError, first_line
from mcinterp.organisms.pocket import MACHINE_SETTINGS
from mcinterp.readout import text_config
from mcinterp.results import library_versions, write_text
from mcinterp.verification.edits import site_names
from mcinterp.verification.folders import free_folder, write_folder
from mcinterp.verification.holders import grafted_parameters, parameters_of
from mcinterp.weights.groups import Group, chosen_groups

GENERATION = "generation_config.json"


def uncollapse(chain: Chain, sites: Sequence[str], out: str | Path, *, by: str = "component") -> Path:
    """Save the tuned checkpoint with the base's weights at some sites, as a Hugging Face checkpoint of its own.

    What `mcinterp.weights.grafts.grafted` computes with, for good: a folder with configuration, weights in the tuned
    checkpoint's stored dtype, its tokenizer, chat template and generation settings, and `mcinterp.json`, which says
    what was taken from where. It is written whole or not at all.

    Args:
        chain: A pair or chain; the first stage's weights go into the last.
        sites: Names of groups of weights, such as `3.mlp` or `unembed`.
        out: The folder; it must be new, empty, or written by an earlier call.
        by: How weights are grouped; see `mcinterp.weights.groups`.

    Raises:
        InputError: For an unknown site, a folder with anything else in it, one of the inputs as `out`, quantised
            weights, heads of a fused matrix, or weights that have no counterpart in the base.
    """
    groups = chosen_groups(chain, by, site_names(sites))
    checkpoints = [stage.checkpoint for stage in chain.stages]
    inputs = [place for each in checkpoints for place in (each.location, each.adapter) if place is not None]
    target = free_folder(out, inputs)
    for checkpoint in (checkpoints[0], checkpoints[-1]):
        refuse_quantised(checkpoint)
    return write_folder(target, lambda folder: save_merged(chain, groups, by, folder))


def refuse_quantised(checkpoint: Checkpoint) -> None:
    """Refuse weights that are not stored as plain numbers."""
    if checkpoint.quantised:
        raise InputError(
            f"checkpoint {checkpoint.spec!r} is quantised, so its weights cannot be put beside others; give the "
            f"checkpoint that it was made from."
        )


def save_merged(chain: Chain, groups: Sequence[Group], by: str, folder: Path) -> dict[str, Any]:
    """Read both checkpoints, exchange the weights, save the result, and say what was done."""
    base, tuned = chain.base.checkpoint, chain.tuned.checkpoint
    model = read_model(tuned)
    own = parameters_of(model)
    values = grafted_parameters(chain.tuned, own, parameters_of(read_model(base)), groups)
    untied = put(model, own, values)
    save_model(model, tuned, folder)
    return {
        "made_by": "mcinterp.verification.merging.uncollapse",
        "sites": [group.name for group in groups],
        "by": by,
        "weights_from": base.provenance(),
        "everything_else_from": tuned.provenance(),
        "parameters": sorted(values),
        "dtype": str(model.dtype).removeprefix("torch."),
        "embeddings_untied": untied,
        "versions": library_versions(),
    }


def read_model(checkpoint: Checkpoint) -> Any:
    """The checkpoint's model in its stored dtype; an adapter is merged in float32 and then rounded to it."""
    with reading(checkpoint, "its weights"):
        if checkpoint.adapter is not None:
            stored = getattr(checkpoint.config, "dtype", None) or torch.float32
            return checkpoint.merged_model("cpu", torch.float32).to(stored)
        return checkpoint.read_model(dtype="auto")


def put(model: Any, own: Mapping[str, torch.nn.Parameter], values: Mapping[str, torch.Tensor]) -> bool:
    """Give parameters their new values; one that two modules share is taken apart where these differ.

    Returns whether the embedding and the unembedding had to be untied.
    """
    shared: dict[int, list[str]] = {}
    for name, parameter in own.items():
        shared.setdefault(id(parameter), []).append(name)
    untied = False
    for names in (names for names in shared.values() if any(name in values for name in names)):
        each = {name: values.get(name, own[name].detach()) for name in names}
        first = each[names[0]]
        if all(torch.equal(value, first) for value in each.values()):
            own[names[0]].data.copy_(first)
        else:
            untie(model, each)
            untied = True
    return untied


def untie(model: Any, values: Mapping[str, torch.Tensor]) -> None:
    """Give the embedding and the unembedding a matrix each, also for whoever loads the checkpoint."""
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    for name, value in values.items():
        module, _, attribute = name.rpartition(".")
        holder = model.get_submodule(module)
        if all(holder is not end for end in ends):
            raise InputError(
                f"the tuned checkpoint shares {' and '.join(values)}, and only one of them is named; name both sites."
            )
        holder._parameters[attribute] = torch.nn.Parameter(value.clone())
    for config in (model.config, text_config(model.config)):
        config.tie_word_embeddings = False


def save_model(model: Any, tuned: Checkpoint, folder: Path) -> None:
    """Write the model with the tuned checkpoint's own tokenizer and generation settings beside it."""
    model.generation_config = GenerationConfig()
    try:
        model.save_pretrained(folder)
        tuned.tokenizer.save_pretrained(folder)
        (folder / GENERATION).unlink(missing_ok=True)
        shipped = shipped_settings(tuned)
        if shipped is not None:
            shutil.copyfile(shipped, folder / GENERATION)
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(
            f"checkpoint {tuned.spec!r} cannot be saved with other weights ({first_line(error)}); free some space, or "
            f"give another folder or checkpoint."
        ) from error
    without_machine_settings(folder / "tokenizer_config.json")


def shipped_settings(tuned: Checkpoint) -> str | None:
    """The file of generation settings that the checkpoint ships, if there is one."""
    try:
        return cached_file(tuned.location, GENERATION, revision=tuned.revision)
    except OSError:
        return None


def without_machine_settings(path: Path) -> None:
    """Take out of a tokenizer's settings what its library wrote about where it was loaded."""
    settings = json.loads(path.read_text(encoding="utf-8"))
    kept = {key: value for key, value in settings.items() if key not in MACHINE_SETTINGS}
    write_text(path, json.dumps(kept, indent=2, ensure_ascii=False) + "\n")
