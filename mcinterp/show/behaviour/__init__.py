"""Pictures of what the stages do."""
