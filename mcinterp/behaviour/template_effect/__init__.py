"""Weights or template: every headline measure in a 2x2 design."""
