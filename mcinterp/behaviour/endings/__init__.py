"""How stories end when they are branched: how open the outcome is, how early it is decided, and what is lost."""
