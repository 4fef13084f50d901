"""What a set of samples is like: how diverse, and of what strings, form and mood.

Texts, tokens or features in, numbers out; no model runs here. No number means anything without its settings
(temperature, number of samples, top-p, vocabulary, encoder): whoever computes one says them beside it.
"""
