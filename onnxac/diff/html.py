"""HTML and SVG as values that can't be unsafe: text is escaped unless it is `Markup`.

Names in a model come from whoever made it. `clean` makes control characters visible, and
`name` isolates the direction of the text, so that no name reorders or hides what is around it.
"""

from __future__ import annotations

import html
import json
import math
from collections.abc import Iterable
from typing import Any

VOID = frozenset({"br", "hr", "input", "link", "meta", "path", "rect", "use", "circle", "wbr"})

# C0 and C1 controls but for tab and line feed, lone surrogates, and the non-characters.
_UNSAFE = {c: chr(0x2400 + c) for c in range(0x20) if c not in (9, 10)}
_UNSAFE |= dict.fromkeys((*range(0x7F, 0xA0), *range(0xD800, 0xE000), 0xFFFE, 0xFFFF), "\ufffd")


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def clean(text: str) -> str:
    """`text` with characters that HTML forbids replaced by ones that show."""
    return text.translate(_UNSAFE)


def escape(text: object) -> str:
    """`text` for an element or a quoted attribute; `Markup` stays as it is."""
    return text if isinstance(text, Markup) else html.escape(clean(str(text)), quote=True)


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


def shorten(text: str, limit: int = 64) -> str:
    """The end of a long name, where names of nodes differ: from a whole part, if one is near."""
    if len(text) <= limit:
        return text
    tail = text[1 - limit :]
    cut = tail.find("/", 0, limit // 3)
    return f"…{tail[max(cut, 0) :]}"


def name(text: str, limit: int = 64, *, breaks: bool = False) -> Markup:
    """A name from a model: its direction isolated, and shortened with more in its title.

    With `breaks`, a line may end after each part of a path-like name.
    """
    title = shorten(text, 400) if len(text) > limit else None
    shown = escape(shorten(text, limit) or "(unnamed)")
    content = shown.replace("/", "/<wbr>") if breaks else shown
    return tag("bdi", Markup(content), title=title)


def embedded_json(data: Any) -> Markup:
    """JSON for inside a script element: nothing in it can end the element."""
    text = json.dumps(_finite(data), separators=(",", ":"), allow_nan=False)
    safe = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return Markup(safe)


def _finite(data: Any) -> Any:
    """`data` with null for what JSON has no number for: infinity, and not a number."""
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data
