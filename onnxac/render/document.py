"""The report as a JSON file, and back."""

from __future__ import annotations

import json
from pathlib import Path

from onnxac.errors import UsageError
from onnxac.render import safe
from onnxac.report import SCHEMA_VERSION, Report


def to_json(report: Report) -> str:
    """The report as `report.schema.json` describes it."""
    return safe.to_json(report.to_dict()) + "\n"


def read_report(path: Path) -> Report:
    """The report in a file. Raises UsageError where it holds none that this version reads."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number)
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
    except OSError as error:
        raise UsageError(f"{path}: can't be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not a report of onnxac: {error}") from error
    found = data.get("schema") if isinstance(data, dict) else None
    if not isinstance(found, int):
        raise UsageError(f"{path}: not a report of onnxac: it has no schema version")
    if found != SCHEMA_VERSION:
        raise UsageError(
            f"{path}: a report of schema {found}, this onnxac reads {SCHEMA_VERSION}; "
            "make it again by `onnxac optimize --report`"
        )
    try:
        return Report.from_dict(data)
    except TypeError as error:
        raise UsageError(f"{path}: not a report of onnxac: {error}") from error


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number in JSON")
