"""Takes what one pane needs out of the installed netron package.

Netron runs from a server or as an app. For a page that opens from a file its modules are
given bare names, which an import map resolves inside each pane's frame. Nothing of Netron's
is changed otherwise; what is known of its inside is kept here and in `frame.js`, and looked
for before it is used, because it is no interface and changes between versions.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Without these there are no panes.
REQUIRED = ("base", "view", "browser", "grapher", "onnx", "onnx-proto", "protobuf", "text")
# Taken where this version has them. Readers of other formats are not: see `_modules`.
OPTIONAL = ("dagre", "worker", "zip", "flatbuffers", "message", "onnx-schema")

PREFIX = "netron/"

_IMPORT = re.compile(r"""(\bfrom\s*|\bimport\s*\(\s*|\bimport\s+)(['"])\./([\w-]+)\.js\2""")
_TAGS = re.compile(
    r"<script\b.*?</script>|<link\b[^>]*>|<meta\s+(?:http-equiv|name=\"date\")[^>]*>",
    re.DOTALL | re.IGNORECASE,
)
_VERSION = re.compile(r'(<meta\s+name="version"\s+content=")[^"]*(")')


@dataclass(frozen=True)
class Netron:
    """What goes into the page. `modules` are sources by name, `html` is the empty viewer."""

    version: str
    html: str
    style: str
    modules: dict[str, str]
    metadata: str


def read_netron(operators: Iterable[tuple[str, str]]) -> Netron | str:
    """The installed netron, with its documentation of `operators` only; or why it can't be used.

    `operators` are pairs of domain and operator type.
    """
    spec = importlib.util.find_spec("netron")
    if spec is None or not spec.submodule_search_locations:
        return "netron is not installed; `pip install onnxac[netron]` adds two panes of it"
    folder = Path(spec.submodule_search_locations[0])
    version = importlib.metadata.version("netron")
    needed = [f"{name}.js" for name in REQUIRED]
    needed += ["index.html", "grapher.css", "onnx-metadata.json"]
    missing = [name for name in needed if not (folder / name).is_file()]
    if missing:
        return f"netron {version} has no {', '.join(missing)}; its two panes are left out"
    return Netron(
        version=version,
        html=_page(_read(folder, "index.html")),
        style=_read(folder, "grapher.css"),
        modules=_modules(folder),
        metadata=_metadata(_read(folder, "onnx-metadata.json"), set(operators)),
    )


def _read(folder: Path, name: str) -> str:
    return (folder / name).read_text(encoding="utf-8")


def _modules(folder: Path) -> dict[str, str]:
    present = [n for n in (*REQUIRED, *OPTIONAL) if (folder / f"{n}.js").is_file()]
    sources = {
        name: _IMPORT.sub(rf"\1\2{PREFIX}\3\2", _read(folder, f"{name}.js")) for name in present
    }
    imported = {
        n for s in sources.values() for n in re.findall(rf"""['"]{PREFIX}([\w-]+)['"]""", s)
    }
    # Readers of other formats are imported but never run on an ONNX file.
    return sources | dict.fromkeys(sorted(imported - sources.keys()), "export {};")


def _page(html: str) -> str:
    """The viewer's document without its scripts, its policy, and the date that it nags by."""
    return _VERSION.sub(r"\g<1>0.0.0\g<2>", _TAGS.sub("", html))


def _metadata(text: str, operators: set[tuple[str, str]]) -> str:
    """What Netron knows of the operators: names and categories, without the documentation."""
    kept = [_slim(entry) for entry in json.loads(text) if _is_used(entry, operators)]
    return json.dumps(kept, separators=(",", ":"))


def _is_used(entry: dict[str, Any], operators: set[tuple[str, str]]) -> bool:
    domain = "" if entry.get("module") == "ai.onnx" else entry.get("module", "")
    return (domain, entry.get("name", "")) in operators


def _slim(entry: dict[str, Any]) -> dict[str, Any]:
    slim = {
        k: v for k, v in entry.items() if k not in ("description", "examples", "type_constraints")
    }
    for part in ("inputs", "outputs", "attributes"):
        if isinstance(entry.get(part), list):
            slim[part] = [{k: v for k, v in e.items() if k != "description"} for e in entry[part]]
    return slim
