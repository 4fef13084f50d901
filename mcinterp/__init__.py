"""mcinterp: where mode collapse appears between a base language model and its tuned checkpoints."""

__version__ = "0.1.0"
