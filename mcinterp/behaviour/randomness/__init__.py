"""Where a fair draw is the right answer: exact distributions over whole supports."""
