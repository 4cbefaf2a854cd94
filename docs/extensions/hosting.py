"""Links of pages to files of the repository, and where that is hosted.

pyproject.toml has the address, under `[project.urls]`, and nothing else has it: pages say
`OWNER/onnxac` in examples, and link to files of the repository by relative paths.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
PLACEHOLDER = "OWNER/onnxac"
# A link to a file beside docs/, not to another page.
LINK = re.compile(r"\]\(\.\./(?P<path>[^)]+)\)")


def repository() -> str:
    """Address of the repository, without a slash at its end."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return str(project["urls"]["Repository"])


def absolute(text: str, place: str) -> str:
    """A page with links that lead to where the repository is hosted.

    Raises FileNotFoundError for a link to a file that is not there.
    """

    def address(match: re.Match[str]) -> str:
        if not (ROOT / match["path"].partition("#")[0]).exists():
            raise FileNotFoundError(match["path"])
        return f"]({place}/blob/main/{match['path']})"

    owner = "/".join(place.split("/")[-2:])
    return LINK.sub(address, text).replace(PLACEHOLDER, owner)


def convert(_app: Any, _name: str, source: list[str]) -> None:
    """Replace the links of a page."""
    source[0] = absolute(source[0], repository())


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("source-read", convert)
    return {"parallel_read_safe": True}
