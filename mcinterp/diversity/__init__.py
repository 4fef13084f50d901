"""How diverse a set of samples is: texts, tokens, classes or features in, numbers out; no model.

No number means anything without its settings (temperature, number of samples, top-p, vocabulary, encoder): whoever
computes one says them beside it.
"""
