"""Models larger than memory, and models on a card: what they take, in bytes and in seconds."""
