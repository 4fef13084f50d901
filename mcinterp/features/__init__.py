"""Sparse autoencoders: which features carry the difference between stages, and what patching along them does."""
