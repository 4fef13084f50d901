"""Methods of localisation on checkpoints whose truth is known: what each answers, how well, and in how much time."""
