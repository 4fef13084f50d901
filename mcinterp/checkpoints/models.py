"""Models read from a checkpoint's files by transformers and PEFT, proven complete."""

from dataclasses import dataclass
from typing import Any

import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from mcinterp.checkpoints.files import adapter_file, stored_tensors
from mcinterp.checkpoints.proofs import empty_model, refuse_absent, refuse_missing, refuse_other_sizes
from mcinterp.checkpoints.reading import named, reading
from mcinterp.errors import InputError, quoted


def factory_of(checkpoint: Any) -> Any:
    """The class of transformers that builds the model: of text alone, unless its configuration is known only beside
    images.
    """
    known = type(checkpoint.config) in MODEL_FOR_CAUSAL_LM_MAPPING or checkpoint.trust.remote_code
    return AutoModelForCausalLM if known else AutoModelForImageTextToText


def require_weights(checkpoint: Any) -> None:
    """Refuse weight files that are missing, broken or pickled, or that hold far less than the configuration says.

    Nothing is read but the headers of local files; a hub id is proven when it is loaded.
    """
    stored = stored_tensors(checkpoint)
    if stored is not None:
        refuse_other_sizes(checkpoint, stored, factory_of(checkpoint))


def model_without_weights(checkpoint: Any) -> torch.nn.Module:
    """The checkpoint's model with shapes alone, once its local files were found to fit them."""
    require_weights(checkpoint)
    return empty_model(checkpoint, factory_of(checkpoint))


def read_model(checkpoint: Any, factory: Any = None, **options: Any) -> Any:
    """A checkpoint's model by `factory.from_pretrained`, without its adapter, with every tensor from its files.

    `options` go to transformers: dtype, device map and the like. Raises `InputError` for weights that are not complete.
    """
    with reading(checkpoint, "its weights"):
        require_weights(checkpoint)
        model, info = (factory or factory_of(checkpoint)).from_pretrained(
            checkpoint.location,
            **{**checkpoint.source, **options},
            use_safetensors=None if checkpoint.trust.pickled else True,
            weights_only=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
        refuse_missing(checkpoint, info)
    return model


@dataclass(frozen=True)
class Reader:
    """What stands for a class of transformers where TransformerLens loads a model, so that the proofs are made."""

    checkpoint: Any
    factory: Any

    def from_pretrained(self, name: str, **options: Any) -> Any:
        """The checkpoint's model; its location is used whatever name is given."""
        return read_model(self.checkpoint, self.factory, **options)


def reader_of(checkpoint: Any) -> Reader:
    """A reader with the class that TransformerLens would choose; `InputError` for an architecture it does not know."""
    from transformer_lens.model_bridge.sources._hf_format import determine_architecture_from_hf_config
    from transformer_lens.model_bridge.sources.transformers.helpers import get_hf_model_class_for_architecture

    try:
        architecture = determine_architecture_from_hf_config(checkpoint.config)
    except ValueError as error:
        raise InputError(
            f"{named(checkpoint)} is a {quoted(checkpoint.config.architectures[0])}, which TransformerLens does not "
            f"know; give checkpoints of an architecture that it does."
        ) from error
    return Reader(checkpoint, get_hf_model_class_for_architecture(architecture))


def merged_model(checkpoint: Any, device: str, dtype: torch.dtype) -> torch.nn.Module:
    """The base model with the adapter's update merged into its weights (PEFT `merge_and_unload`)."""
    try:
        from peft import PeftModel
    except ImportError as error:
        raise InputError(
            f"{named(checkpoint)} is a PEFT adapter and the package peft is not installed: "
            f"run `pip install mcinterp[peft]`."
        ) from error
    base = read_model(checkpoint, dtype=dtype)
    with reading(checkpoint, "its adapter"):
        adapted = PeftModel.from_pretrained(base, str(checkpoint.adapter))
        refuse_missing_update(checkpoint, adapted)
        return adapted.merge_and_unload().to(device)


def refuse_missing_update(checkpoint: Any, adapted: Any) -> None:
    """Refuse an adapter whose file lacks tensors that its configuration asks for: PEFT leaves them as they began."""
    from peft import get_peft_model_state_dict

    file = adapter_file(checkpoint)
    if file is not None:
        with safe_open(str(file), framework="pt") as opened:
            refuse_absent(checkpoint, get_peft_model_state_dict(adapted).keys() - set(opened.keys()))
