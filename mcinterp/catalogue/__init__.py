"""The pair catalogue: real base checkpoints and those tuned from them, by hub id, with what must be known to run them.

`catalogue:NAME` stands for a base and all its stages wherever a chain of checkpoints is given, `catalogue:NAME/STAGE`
for one of them. What is known lies in a TOML file a family (`mcinterp/catalogue/families`). Importing this needs
neither torch nor transformers.
"""

from mcinterp.catalogue.entry import Entry, Published, Shape, Template, Trap
from mcinterp.catalogue.naming import PREFIX, expanded, published
from mcinterp.catalogue.reading import entries, entry, left_out

__all__ = [
    "PREFIX",
    "Entry",
    "Published",
    "Shape",
    "Template",
    "Trap",
    "entries",
    "entry",
    "expanded",
    "left_out",
    "published",
]
