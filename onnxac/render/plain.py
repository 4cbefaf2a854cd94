"""What the terminal shows, as a string."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Iterable

from rich.console import Console, RenderableType

from onnxac.render.columns import UNLIMITED


def as_text(parts: Iterable[RenderableType]) -> str:
    """Plain text: as wide as the terminal, or as it has to be where there is none."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else UNLIMITED
    out = io.StringIO()
    console = Console(
        file=out,
        width=width,
        color_system=None,
        highlight=False,
        markup=False,
        emoji=False,
        # In a notebook rich would show it by itself, whatever file it is given.
        force_jupyter=False,
    )
    console.print(*parts, sep="\n")
    return out.getvalue().rstrip("\n")
