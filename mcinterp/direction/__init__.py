"""The direction from the base's residual stream to the tuned one's: estimated, added and taken out."""
