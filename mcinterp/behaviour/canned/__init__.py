"""Canned answers to "Are X real?": how sure, how alike, and whether a rare noun explains it."""
