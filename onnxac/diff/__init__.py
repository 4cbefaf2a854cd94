"""Shows what became of a model.

render_html             one self-contained HTML file, with two Netron panes
render_text             the same for the terminal
match                   which node stands for which
model_explorer_mapping  the same for Google's Model Explorer
"""

from .explorer import model_explorer_mapping
from .matching import match
from .page import render_html
from .pairing import Counterpart, Matching
from .text import render_text

__all__ = [
    "Counterpart",
    "Matching",
    "match",
    "model_explorer_mapping",
    "render_html",
    "render_text",
]
