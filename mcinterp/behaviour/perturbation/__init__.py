"""Attractors: disturbed completions, and whether they return."""
