"""circuitsvis components as data, for a notebook, a report, or a page that carries their JavaScript once.

CircuitsVis' own HTML loads its script from a CDN or repeats 1.3 MB a component, in a div that HTML leaves open; here a
component is its name and properties, and what shows it calls `CircuitsVis.render` on a closed div. Functions that take
arrays are named as circuitsvis names its own; the others take the library's results.
"""

from mcinterp.show.circuits.attention import (
    attention_compared,
    attention_difference,
    attention_heads,
    attention_of,
    attention_side_by_side,
)
from mcinterp.show.circuits.component import Component, embedded, javascript, shown
from mcinterp.show.circuits.datasets import (
    lens_readings,
    part_attribution,
    token_alternatives,
    token_probabilities,
    token_values,
)
from mcinterp.show.circuits.notebook import Script, script
from mcinterp.show.circuits.page import page, save
from mcinterp.show.circuits.tokens import colored_tokens, colored_tokens_multi, lens_table, token_log_probs

__all__ = [
    "Component",
    "Script",
    "attention_compared",
    "attention_difference",
    "attention_heads",
    "attention_of",
    "attention_side_by_side",
    "colored_tokens",
    "colored_tokens_multi",
    "embedded",
    "javascript",
    "lens_readings",
    "lens_table",
    "page",
    "part_attribution",
    "save",
    "script",
    "shown",
    "token_alternatives",
    "token_log_probs",
    "token_probabilities",
    "token_values",
]
