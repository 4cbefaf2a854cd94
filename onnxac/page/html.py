"""HTML and SVG as values that can't be unsafe: text is escaped unless it is `Markup`.

Names in a model come from whoever made it: `name` isolates the direction of the text, so
that none reorders or hides what is around it.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable
from typing import Any

from onnxac.render import safe
from onnxac.render.safe import one_line

VOID = frozenset({"br", "hr", "input", "link", "meta", "path", "rect", "use", "circle", "wbr"})
# What a title shows of a name that is cut.
TITLE = 400


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def escape(text: object) -> str:
    """`text` for an element or a quoted attribute; `Markup` stays as it is."""
    return text if isinstance(text, Markup) else html.escape(_clean(str(text)), quote=True)


def _clean(text: str) -> str:
    """Line by line, since licences and sentences have several, and as long as it is."""
    return "\n".join(one_line(line, len(line)) for line in text.split("\n"))


def join(parts: Iterable[object]) -> Markup:
    """All parts in a row, each escaped unless it is `Markup`."""
    return Markup("".join(escape(p) for p in parts if p is not None))


def tag(element: str, *children: object, **attributes: object) -> Markup:
    """One element. `class_` is class, `data_x` is data-x; None leaves an attribute out."""
    given = (
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"'
        if value is not True
        else f" {key.rstrip('_').replace('_', '-')}"
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    opening = f"<{element}{''.join(given)}"
    # SVG knows no void elements: there the slash is what closes them.
    return Markup(f"{opening}/>" if element in VOID else f"{opening}>{join(children)}</{element}>")


def name(text: str, limit: int = 80, *, breaks: bool = False) -> Markup:
    """A name from a model: its direction isolated, and cut with more of it in its title.

    With `breaks`, a line may end after each part of a path-like name.
    """
    title = one_line(text, TITLE) if len(text) > limit else None
    shown = escape(one_line(text, limit) or "(unnamed)")
    content = shown.replace("/", "/<wbr>") if breaks else shown
    return tag("bdi", Markup(content), title=title)


def embedded_json(data: Any) -> Markup:
    """JSON for inside a script element: nothing in it can end the element."""
    text = safe.to_json(_finite(data), indent=None)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _finite(data: Any) -> Any:
    """`data` with null for what JSON has no number for: infinity, and not a number."""
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data
