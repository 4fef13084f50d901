"""What a checkpoint may do beyond being read."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Trust:
    """What is allowed: weights in Python's pickle format (read by torch's restricted unpickler), code of its own.

    A pickle and a modelling file can both run anything; give trust only to checkpoints whose makers you trust.
    """

    pickled: bool = False
    remote_code: bool = False


CAREFUL = Trust()
