"""What the stages of a chain do: the observations of mode collapse as measures of texts and distributions."""
