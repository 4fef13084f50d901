"""Which contexts collapse, and what foretells it."""
