"""Whole jobs: a question put to checkpoints, answered by analyses that are written into a run directory."""
