"""Preference order: which tokens a stage moves, beside the base's rank."""
