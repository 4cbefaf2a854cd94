"""Shows what became of a model.

In   two models, whoever made them, and the report of what was done, where there is one.
Out  one HTML page that needs no server and no network, the same as text, or a mapping.

render_html             one self-contained HTML file, with two Netron panes
draw_text               the same for the terminal
match                   which node stands for which
model_explorer_mapping  the same for Google's Model Explorer

Requires that the report, if there is one, is about these two models. Ensures that every node of
either is matched, removed or added, that the same input gives the same page, and that nothing
a model says becomes markup. Whoever shows two models in more than one way gathers the facts once,
for `draw_page`, `draw_text` and, as `facts.matching`, for the mapping.
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
