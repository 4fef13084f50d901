"""What the methods outside the benchmark of localisation say on the planted checkpoints, one function a table."""
