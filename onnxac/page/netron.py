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
# Taken where this version has them. Readers of other formats are left out: see `_modules`.
OPTIONAL = ("json", "dagre", "worker", "zip", "flatbuffers", "message", "onnx-schema")

# The reader of Python's pickles, which no ONNX file needs, is larger than all the rest.
HEAVY_BYTES = 500_000

PREFIX = "netron/"

_IMPORT = re.compile(r"""(\bfrom\s*|\bimport\s*\(\s*|\bimport\s+)(['"])\./([\w-]+)\.js\2""")
_STATIC = re.compile(r"""^import\b[^;]*\bfrom\s*['"]\./([\w-]+)\.js['"]""", re.MULTILINE)
_MENTION = re.compile(rf"""['"]{PREFIX}([\w-]+)['"]""")
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
        return 'netron is not installed; `pip install "onnxac[netron]"` adds two panes of it'
    folder = Path(spec.submodule_search_locations[0])
    version = _version()
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


def _version() -> str:
    try:
        return importlib.metadata.version("netron")
    except importlib.metadata.PackageNotFoundError:
        # A checkout on the path, or a folder that is only named like it: its files will tell.
        return "(unknown version)"


def _read(folder: Path, name: str) -> str:
    return (folder / name).read_text(encoding="utf-8")


def _modules(folder: Path) -> dict[str, str]:
    """The sources of the modules that run on an ONNX file, and stand-ins for those that don't."""
    sources: dict[str, str] = {}
    pending = [*REQUIRED, *OPTIONAL]
    while pending:
        name = pending.pop()
        file = folder / f"{name}.js"
        if name in sources or not file.is_file():
            continue
        text = _read(folder, file.name)
        sources[name] = _IMPORT.sub(rf"\1\2{PREFIX}\3\2", text)
        # Older versions import the readers of other formats at once, and ask some of them.
        pending += [n for n in _STATIC.findall(text) if _is_light(folder / f"{n}.js")]
    mentioned = {n for text in sources.values() for n in _MENTION.findall(text)}
    return sources | dict.fromkeys(sorted(mentioned - sources.keys()), "export {};")


def _is_light(file: Path) -> bool:
    return file.is_file() and file.stat().st_size < HEAVY_BYTES


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
