"""The numbers of a run that people ask for first, as plain data."""
