"""Names of checkpoints, what is known of one before its weights are read, and the reading of them.

A checkpoint is written as a hub id (`org/name`, `org/name@revision`), a local directory in Hugging Face format, a
PEFT adapter directory (on the base its `adapter_config.json` names, or on one given as `BASE+ADAPTER`), or
`pocket:NAME`, one of the small checkpoints that ship with the library. `NAME=...` before any of these names the stage.

Nothing that a checkpoint brings is run, and nothing is unpickled, unless its `Trust` says so.
"""

from mcinterp.checkpoints.checkpoint import Checkpoint
from mcinterp.checkpoints.names import parse_chain, parse_checkpoint
from mcinterp.checkpoints.proofs import refuse_broken_weights, tensor_name
from mcinterp.checkpoints.reading import reading
from mcinterp.checkpoints.trust import CAREFUL, Trust

__all__ = [
    "CAREFUL",
    "Checkpoint",
    "Trust",
    "parse_chain",
    "parse_checkpoint",
    "reading",
    "refuse_broken_weights",
    "tensor_name",
]
