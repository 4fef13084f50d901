"""Strings that a task brings whatever its input, form and mood of endings, and calibration."""
