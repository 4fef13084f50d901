"""A chain from models that are in memory already."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from transformer_lens.model_bridge import TransformerBridge

from mcinterp.alignment import align_checkpoints
from mcinterp.chain import Chain, Stage
from mcinterp.checkpoints import refuse_broken_weights
from mcinterp.checkpoints.names import refuse_taken, require_shown
from mcinterp.checkpoints.proofs import refuse_what_cannot_run
from mcinterp.errors import InputError
from mcinterp.interop.bridging import bridge_of, dtype_of, inner, require_model
from mcinterp.interop.in_memory import PLACE, InMemory


def chain_from_models(models: Mapping[str, Any], *, tokenizer: Any) -> Chain:
    """Put models that are in memory into a chain, base first, and prove that they can be compared.

    Args:
        models: From stage names to a `PreTrainedModel` of transformers or a `TransformerBridge` each. One model alone
            makes a chain of one stage, for what is measured on a single model.
        tokenizer: One tokenizer for all stages, or a mapping from stage names to tokenizers, as `AutoTokenizer` gives
            them: a bridge's own has other settings.

    Returns:
        A chain as `load_chain` makes it, with the same alignment report; numbers are those of the same checkpoints
        loaded from disk. A `PreTrainedModel` is left as it is: a twin is read whose weights lie in the same memory, in
        eval mode, with eager attention. A bridge is used itself: hooks and grafted weights are on it while an analysis
        runs and are gone afterwards, also after an error; hooks of your own ride along. Results name each stage
        `memory:NAME` with a digest of its weights as they are now: make a new chain after changing them.

    Raises:
        AlignmentError: Where shapes or vocabularies differ.
        InputError: For what is no causal language model, or one that cannot be compared as it is: processed weights, a
            bridge in training mode, an adapter that is not merged, several devices, another model's tokenizer.
    """
    names = require_names(models)
    tokenizers = tokenizers_for(names, tokenizer)
    for name, model in models.items():
        require_model(name, model)
    checkpoints = {
        name: InMemory(name, PLACE + name, PLACE + name, model=inner(model), given_tokenizer=tokenizers[name])
        for name, model in models.items()
    }
    alignment = align_checkpoints(list(checkpoints.values())).require()
    stages = tuple(stage_of(checkpoints[name], model, alignment.vocabulary) for name, model in models.items())
    return Chain(stages=stages, alignment=alignment)


def require_names(models: Mapping[str, Any]) -> list[str]:
    """The stages' names; refused where they cannot stand for stages, or one bridge stands for two."""
    if not isinstance(models, Mapping) or not models:
        raise InputError(f"got {type(models).__name__} for models; give a mapping such as {{'base': a, 'tuned': b}}.")
    for name in models:
        require_shown(name)
        refuse_taken(name)
    bridges = [id(model) for model in models.values() if isinstance(model, TransformerBridge)]
    if len(set(bridges)) < len(bridges):
        raise InputError("one bridge stands for two stages, and both would run in it; give a bridge for each.")
    return list(models)


def tokenizers_for(names: list[str], tokenizer: Any) -> dict[str, Any]:
    """The tokenizer of every stage."""
    if not isinstance(tokenizer, dict):
        return dict.fromkeys(names, tokenizer)
    missing = [name for name in names if name not in tokenizer]
    if missing:
        raise InputError(f"stage {missing[0]!r} has no tokenizer; give one for all stages, or one for each by name.")
    return {name: tokenizer[name] for name in names}


def stage_of(checkpoint: InMemory, model: Any, vocabulary: int) -> Stage:
    """A stage that runs a model, after the proofs that a loaded checkpoint passes too."""
    bridge = bridge_of(checkpoint, model)
    device = str(next(bridge.original_model.parameters()).device)
    refuse_broken_weights(checkpoint, bridge)
    refuse_what_cannot_run(checkpoint, bridge, device)
    stage = Stage(checkpoint.name, checkpoint, device, dtype_of(inner(model)), vocabulary, loaded=bridge)
    return replace(stage, checkpoint=replace(checkpoint, revision=f"sha256:{stage.fingerprint}"))
