"""mcinterp's parts in other people's programs: models in memory, caches, hooks for TransformerLens, tensors."""
