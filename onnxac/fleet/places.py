"""Where models are, and where the result of each goes."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from onnxac.errors import UsageError

STDIO = "-"


@dataclass(frozen=True)
class Place:
    """A model that was named or found.

    path     of its file, or what was named where no model is
    inside   its path in the folder that was named, or its name
    trouble  why no model is there; empty where one may be
    """

    path: str
    inside: str
    trouble: str = ""


def find_models(named: Sequence[str]) -> list[Place]:
    """The models at all places, each once.

    What is named is a file, `-`, a folder with .onnx files at any depth, or a pattern in which
    `**` stands for any folders.
    """
    found: dict[str, Place] = {}
    for name in named:
        for place in _at(name):
            found.setdefault(place.path, place)
    return list(found.values())


def _at(name: str) -> list[Place]:
    if name == STDIO or os.path.isfile(name):
        return [Place(name, os.path.basename(name))]
    if os.path.isdir(name):
        models = sorted(p for p in Path(name).rglob("*.onnx") if p.is_file())
        inside = [Place(str(p), str(p.relative_to(name))) for p in models]
        return inside or [Place(name, "", "no .onnx file is in this folder")]
    if glob.has_magic(name):
        matches = sorted(p for p in glob.glob(name, recursive=True) if os.path.isfile(p))
        base = _folder_of(name)
        inside = [Place(p, os.path.relpath(p, base)) for p in matches]
        return inside or [Place(name, "", "no file has a name like that")]
    # Reading it says what is wrong.
    return [Place(name, os.path.basename(name))]


def _folder_of(pattern: str) -> str:
    """The part of a pattern in front of the first folder with a wildcard."""
    parts = Path(pattern).parts
    first = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    return str(Path(*parts[:first])) if first else "."


def targets(places: Sequence[Place], folder: Path) -> dict[Place, Path]:
    """Where the result of each model goes: the tree below what was named is kept.

    What lies in `folder` already is no model to be optimized. Raises UsageError where two
    results would be one file, or a result its own model.
    """
    root = folder.resolve()
    chosen: dict[Path, Place] = {}
    for place in places:
        if not place.trouble and Path(place.path).resolve().is_relative_to(root):
            continue
        target = folder / place.inside
        other = chosen.setdefault(target, place)
        if other is not place and not place.trouble:
            raise UsageError(
                f"{place.path} and {other.path} would both become {target}; "
                "name the folder above them instead"
            )
    return {place: target for target, place in chosen.items()}
