"""The block multiverse: exact trees of all continuations, of all stages on one axis."""
