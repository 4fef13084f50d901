"""Pictures of results: Altair charts, circuitsvis components, and the report that holds them. No model is needed."""
