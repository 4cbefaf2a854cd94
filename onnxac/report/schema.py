"""The JSON Schemas of both reports, made from their dataclasses.

`python -m onnxac.report.schema report` prints what `report.schema.json` has to hold, and with
`fleet` what `fleet.schema.json` has to; a test compares them, so that neither a field nor a
type changes by accident. `SCHEMA_VERSION` and `FLEET_VERSION` go up when a reader of the old
form would misread the new one.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import types
import typing
from typing import Any

from onnxac.report import SCHEMA_VERSION, Report
from onnxac.report.fleet import FLEET_VERSION, FleetReport

Schema = dict[str, Any]

ADDRESS = "https://json-schema.org/draft/2020-12/schema"
_SIMPLE = {str: "string", int: "integer", float: "number", bool: "boolean"}


def report_schema() -> Schema:
    """JSON Schema (draft 2020-12) of `Report.to_dict`."""
    return _root(Report, "onnxac report", SCHEMA_VERSION)


def fleet_schema() -> Schema:
    """JSON Schema (draft 2020-12) of `FleetReport.to_dict`."""
    return _root(FleetReport, "onnxac report on many models", FLEET_VERSION)


def _root(kind: Any, title: str, version: int) -> Schema:
    definitions: dict[str, Schema] = {}
    root = _dataclass(kind, definitions)
    root["properties"]["schema"] = {"const": version}
    if "Report" in definitions:
        definitions["Report"]["properties"]["schema"] = {"const": SCHEMA_VERSION}
    return {"$schema": ADDRESS, "title": title, **root, "$defs": definitions}


def _dataclass(kind: Any, definitions: dict[str, Schema]) -> Schema:
    hints = typing.get_type_hints(kind)
    names = [f.name for f in dataclasses.fields(kind)]
    return {
        "description": (kind.__doc__ or "").split("\n\n")[0],
        "type": "object",
        "properties": {name: _schema(hints[name], definitions) for name in names},
        "required": names,
        "additionalProperties": False,
    }


def _schema(kind: Any, definitions: dict[str, Schema]) -> Schema:
    if dataclasses.is_dataclass(kind):
        name = kind.__name__  # type: ignore[union-attr]
        if name not in definitions:
            definitions[name] = {}
            definitions[name] = _dataclass(kind, definitions)
        return {"$ref": f"#/$defs/{name}"}
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:
        return {"anyOf": [_schema(a, definitions) for a in args]}
    if origin is tuple:
        return {"type": "array", "items": _schema(args[0], definitions)}
    if origin is dict:
        return {"type": "object", "additionalProperties": _schema(args[1], definitions)}
    if kind is type(None):
        return {"type": "null"}
    return {"type": _SIMPLE[kind]}


if __name__ == "__main__":
    _which = {"report": report_schema, "fleet": fleet_schema}[sys.argv[1]]
    json.dump(_which(), sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")
