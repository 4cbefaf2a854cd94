"""Dataclasses as plain data, and back: the types of the fields are what is accepted.

`onnxac.report.schema` makes the JSON Schema of the same types, so that what `build` takes is
what the schema allows; a test holds them together.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any

# What a value may be for each simple type. JSON has one kind of number, Python's True is one.
_SIMPLE: dict[type, tuple[tuple[type, ...], str]] = {
    str: ((str,), "a string"),
    bool: ((bool,), "true or false"),
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
}


def plain(value: Any) -> Any:
    """A value as dicts, lists, numbers and strings."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return value


def build(kind: Any, value: Any, where: str = "") -> Any:
    """The value that `plain` made this of. Raises TypeError that says where it is none."""
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind, value, where)
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        (inner,) = (a for a in args if a is not type(None))
        return None if value is None else build(inner, value, where)
    if origin is tuple:
        items = _is(list, value, where, "a list")
        return tuple(build(args[0], v, f"{where}[{i}]") for i, v in enumerate(items))
    if origin is dict:
        entries = _is(dict, value, where, "an object")
        return {k: build(args[1], v, f"{where}[{k!r}]") for k, v in entries.items()}
    kinds, name = _SIMPLE[kind]
    if isinstance(value, bool) and kind is not bool:
        raise _wrong(where, name)
    if not isinstance(value, kinds):
        raise _wrong(where, name)
    return value


def _dataclass(kind: Any, value: Any, where: str) -> Any:
    given = _is(dict, value, where, "an object")
    hints = typing.get_type_hints(kind)
    names = [f.name for f in dataclasses.fields(kind)]
    for name in names:
        if name not in given:
            raise TypeError(f"{where or 'the report'} has no {name!r}")
    for key in given:
        if key not in names:
            raise TypeError(f"{where or 'the report'} has an entry {key!r} that is not known")
    inner = {n: build(hints[n], given[n], f"{where}.{n}".lstrip(".")) for n in names}
    return kind(**inner)


def _is(kind: type, value: Any, where: str, name: str) -> Any:
    if not isinstance(value, kind):
        raise _wrong(where, name)
    return value


def _wrong(where: str, name: str) -> TypeError:
    return TypeError(f"{where or 'the report'} has to be {name}")
