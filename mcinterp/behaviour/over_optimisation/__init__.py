"""An RL run checkpoint by checkpoint: one attractor for every prompt, and reward against divergence."""
