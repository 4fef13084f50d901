"""What parts of a checkpoint contribute to its next-token distribution."""
