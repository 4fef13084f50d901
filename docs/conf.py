"""How Sphinx builds the documentation: from the repository alone, without a network, warnings being errors."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "extensions"), str(HERE.parent)]
os.environ["HF_HUB_OFFLINE"] = "1"

from mcinterp import __version__  # noqa: E402

project = "mcinterp"
author = "The mcinterp authors"
copyright = author
version = release = __version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "plain_docstrings",
    "public_names",
    "command_line",
    "measures",
]
root_doc = "index"
exclude_patterns = ["extensions", "**/.ipynb_checkpoints"]
suppress_warnings = ["mystnb.unknown_mime_type"]

# Markdown: headings are targets of links; notebooks are shown as they were executed and stored.
myst_heading_anchors = 4
myst_enable_extensions = ["deflist", "colon_fence"]
nb_execution_mode = "off"
nb_merge_streams = True

# Docstrings are plain prose in which single backticks are code.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_default_options = {"members": True}
napoleon_numpy_docstring = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88

# Annotations name types of other libraries, whose documentation is elsewhere, and types that only modules inside use.
nitpick_ignore_regex = [(r"py:.*", r"(?!mcinterp\.).*"), (r"py:class", r"mcinterp\..*")]

html_theme = "furo"
html_title = f"mcinterp {version}"
html_static_path = []
html_copy_source = False
html_show_copyright = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0072B2", "color-brand-content": "#0072B2"},
    "dark_css_variables": {"color-brand-primary": "#56B4E9", "color-brand-content": "#56B4E9"},
}
