"""Shows what became of a model.

render_html             one self-contained HTML file, with two Netron panes
draw_text               the same for the terminal
match                   which node stands for which
model_explorer_mapping  the same for Google's Model Explorer

Whoever shows two models in more than one way gathers the facts once, for `draw_page`,
`draw_text` and, as `facts.matching`, for the mapping.
"""

from .explorer import model_explorer_mapping
from .facts import Facts, Known, gather
from .matching import match
from .page import draw_page, render_html
from .pairing import Counterpart, Matching
from .text import draw_text

__all__ = [
    "Counterpart",
    "Facts",
    "Known",
    "Matching",
    "draw_page",
    "draw_text",
    "gather",
    "match",
    "model_explorer_mapping",
    "render_html",
]
