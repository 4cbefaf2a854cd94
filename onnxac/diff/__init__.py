"""Shows what became of a model: one HTML file, or text for the terminal."""

from .matching import match
from .page import render_html
from .pairing import Counterpart, Matching

__all__ = ["Counterpart", "Matching", "match", "render_html"]
