"""The update from one checkpoint to another, weight by weight: groups, grafts, interpolation, attribution."""
