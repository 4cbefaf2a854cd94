"""Settings of the documentation site. `make docs` builds it; a warning is an error.

Sphinx, with pages in Markdown: of the tools that render API pages from docstrings it is the one
that is well kept. MkDocs had its last release in August 2024, and its best theme is in maintenance.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "extensions"), str(HERE.parent)]

import onnxac  # noqa: E402 - it is found by the line above

project = "onnxac"
author = "the onnxac authors"
copyright = f"2025-2026, {author}"
version = release = onnxac.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "docstrings", "hosting", "reference"]
exclude_patterns = ["pictures", "extensions"]
# What stands in single backticks is code, as in the comments.
default_role = "code"
highlight_language = "none"
# Two hyphens begin an option.
smartquotes = False

# `:::` opens a directive: GitHub shows what is in it as text, and no code block is meant.
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
# Sections are linked as GitHub links them.
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True

html_theme = "furo"
html_title = f"onnxac {version}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
