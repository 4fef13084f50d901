"""How diverse the samples of every stage are, by every published measure, with its settings."""
