"""Configurations and tokenizers of all stages compared, before any weight is read."""

from collections.abc import Sequence
from typing import Any

from mcinterp.alignment.report import AlignedProperty, Alignment, Verdict, must_agree, reported, shorten
from mcinterp.alignment.shapes import REPORTED, SHAPES, attribute
from mcinterp.checkpoints import Checkpoint
from mcinterp.readout import text_config
from mcinterp.rendering import encode


def align_checkpoints(checkpoints: Sequence[Checkpoint]) -> Alignment:
    """Compare configurations and tokenizers of all stages; refusals are in the report, not raised.

    Raises `InputError` for a checkpoint that is none: no causal language model, or weight files that are not whole.
    """
    configs = [text_config(checkpoint.config) for checkpoint in checkpoints]
    for checkpoint in checkpoints:
        checkpoint.require_weights()
    architectures = [checkpoint.config.architectures[0] for checkpoint in checkpoints]
    properties = [must_agree("architecture", architectures)]
    properties += [must_agree(name, [read(config) for config in configs]) for name, read in SHAPES.items()]
    properties += [reported(name, [read(config) for config in configs]) for name, read in REPORTED.items()]
    properties += align_tokenizers(checkpoints)
    sizes = [int(config.vocab_size) for config in configs]
    return Alignment(
        stages=tuple(checkpoint.name for checkpoint in checkpoints),
        properties=(*properties, vocabulary_size(sizes)),
        vocabulary=min(sizes),
        context=min(int(attribute("max_position_embeddings")(config) or 2**31) for config in configs),
    )


def vocabulary_size(sizes: Sequence[int]) -> AlignedProperty:
    """Rows of the unembedding; a padded or extended one is cut to the part all stages have."""
    verdict: Verdict = "same" if len(set(sizes)) == 1 else "cut"
    return AlignedProperty("vocabulary rows", tuple(str(size) for size in sizes), verdict)


def align_tokenizers(checkpoints: Sequence[Checkpoint]) -> list[AlignedProperty]:
    """Which token each id means, special tokens, BOS rule, chat template, generation settings."""
    tokenizers = [checkpoint.tokenizer for checkpoint in checkpoints]
    return [
        same_tokens(checkpoints),
        reported("tokens in the tokenizer", [len(tokenizer) for tokenizer in tokenizers]),
        reported("BOS token", [tokenizer.bos_token for tokenizer in tokenizers]),
        reported("BOS put before raw text", [begins_with_bos(tokenizer) for tokenizer in tokenizers]),
        reported("end token", [tokenizer.eos_token for tokenizer in tokenizers]),
        reported("padding token", [tokenizer.pad_token for tokenizer in tokenizers]),
        reported("chat template", [describe_template(tokenizer) for tokenizer in tokenizers]),
        reported("generation settings", [checkpoint.generation_settings or "none" for checkpoint in checkpoints]),
    ]


def begins_with_bos(tokenizer: Any) -> str:
    """Whether the tokenizer puts a BOS token before raw text of its own accord."""
    ids = encode(tokenizer, "", "raw")
    return "yes" if tokenizer.bos_token_id is not None and ids[:1] == [tokenizer.bos_token_id] else "no"


def describe_template(tokenizer: Any) -> str:
    """The chat template's length and beginning, or that there is none."""
    template = tokenizer.chat_template
    return "none" if not template else f"{len(str(template))} characters: {shorten(str(template), 24)}"


def same_tokens(checkpoints: Sequence[Checkpoint]) -> AlignedProperty:
    """Whether every id of the shared vocabulary means the same token; special tokens may be renamed."""
    rows = min(int(text_config(checkpoint.config).vocab_size) for checkpoint in checkpoints)
    tables = [id_to_token(checkpoint.tokenizer, rows) for checkpoint in checkpoints]
    special = set().union(*(checkpoint.tokenizer.added_tokens_decoder for checkpoint in checkpoints))
    base = tables[0]
    for table in tables[1:]:
        differing = sorted(i for i in base.keys() | table.keys() if base.get(i) != table.get(i) and i not in special)
        if differing:
            first = differing[0]
            values = tuple(f"id {first} is {each.get(first, 'no token')!r}" for each in tables)
            remedy = (
                "give checkpoints that share one tokenizer, since activations of another vocabulary mean other tokens"
            )
            return AlignedProperty("vocabulary", values, "refused", remedy)
    renamed = any(table.get(i) != base.get(i) for table in tables[1:] for i in special if i in base and i in table)
    values = tuple(f"{len(table)} tokens" for table in tables)
    return AlignedProperty("vocabulary", values, "reported" if renamed else "same")


def id_to_token(tokenizer: Any, rows: int) -> dict[int, str]:
    """The token string of every id below `rows`."""
    return {index: token for token, index in tokenizer.get_vocab().items() if index < rows}
