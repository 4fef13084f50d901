"""Interventions: one checkpoint's activations put into another's run."""
