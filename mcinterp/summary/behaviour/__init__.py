"""What the stages do, as plain numbers with intervals."""
