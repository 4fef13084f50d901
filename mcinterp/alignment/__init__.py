"""Proof that checkpoints can be compared: same shapes, same vocabulary, the same token ids for every prompt.

The report is made from configurations and tokenizers alone, before any weight is read.
"""

from mcinterp.alignment.report import AlignedProperty, Alignment, AlignmentError
from mcinterp.alignment.stages import align_checkpoints, vocabulary_size
from mcinterp.alignment.token_ids import align_prompts

__all__ = [
    "AlignedProperty",
    "Alignment",
    "AlignmentError",
    "align_checkpoints",
    "align_prompts",
    "vocabulary_size",
]
