"""Whether the hub can be reached: found out once and quickly, instead of by retries for every file."""

from functools import cache

from huggingface_hub import constants
from huggingface_hub.utils import get_session

SECONDS = 10.0


@cache
def go_offline_if_unreachable() -> bool:
    """Use only cached files for the rest of the process where the hub cannot be reached; returns whether it can."""
    if constants.HF_HUB_OFFLINE:
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=SECONDS)
    except Exception:  # whatever the network and its libraries raise: the hub is out of reach
        constants.HF_HUB_OFFLINE = True
        return False
    return True
