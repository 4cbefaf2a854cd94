"""What a repository repeats: `[tool.onnxac]` in pyproject.toml, or onnxac.toml.

The nearest of these files counts, from the working folder upward; in one folder onnxac.toml
goes before pyproject.toml, and a pyproject.toml without that table is passed by. Keys are
the long names of options, `keep = ["/head/*"]` for `--keep "/head/*"`, and hold for every
command that has the option. What is given on the command line wins.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onnxac.errors import UsageError

Value = bool | int | float | str | list[str]


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(v, str) for v in value)


_COUNT = (_is_count, "a whole number, 0 or more")
_NUMBER = (_is_number, "a number, 0 or more")
_FLAG = (_is_flag, "true or false")
_TEXT = (_is_text, "a string")
_TEXTS = (_is_texts, "a list of strings")
_ONE_OR_MORE = (lambda v: _is_text(v) or _is_texts(v), "a string or a list of strings")

# Options that say what to do with one model (OUT, --report, --node) are no settings.
KEYS: Mapping[str, tuple[Callable[[object], bool], str]] = {
    "keep": _TEXTS,
    "without": _ONE_OR_MORE,
    "tune": _FLAG,
    "fix-shape": _TEXTS,
    "to": _TEXT,
    "precision": _TEXT,
    "freeze-initializers": _FLAG,
    "dequantize": _FLAG,
    "ranges": _FLAG,
    "equalize": _FLAG,
    "exact-factors": _FLAG,
    "fail-if-unfused": _FLAG,
    "verify": _FLAG,
    "seeds": _COUNT,
    "shape": _TEXTS,
    "tolerance": _NUMBER,
    "timeout": _NUMBER,
    "inputs": _TEXTS,
    "custom-ops": _TEXTS,
    "strict": _FLAG,
    "rtol": _NUMBER,
    "atol": _NUMBER,
    "outputs-only": _FLAG,
    "bench": _FLAG,
    "jobs": _COUNT,
    "engine": _TEXT,
    "format": _ONE_OR_MORE,
    "max-nodes": _COUNT,
    "max-parameters": _COUNT,
    "max-macs": _COUNT,
    "max-bytes": _COUNT,
    "max-range-ratio": _NUMBER,
    "runs": _COUNT,
    "warmup": _COUNT,
    "threads": _COUNT,
    "runtime": _TEXT,
    "provider": _TEXT,
    "color": _FLAG,
}


@dataclass(frozen=True)
class Config:
    """Settings by key, and the file that they are from."""

    path: Path | None = None
    values: Mapping[str, Value] = field(default_factory=dict)


def load(folder: Path | None = None) -> Config:
    """The settings that hold in `folder`, by default the working one.

    Raises UsageError, naming file and key, where a file is no TOML, a key is not known, or
    a value has the wrong type.
    """
    start = (folder or Path.cwd()).resolve()
    for place in (start, *start.parents):
        for name, table in (("onnxac.toml", ()), ("pyproject.toml", ("tool", "onnxac"))):
            path = place / name
            if path.is_file():
                values = _table(path, table)
                if values is not None:
                    return Config(path, _checked(path, values))
    return Config()


def _table(path: Path, keys: tuple[str, ...]) -> Mapping[str, Any] | None:
    # Most repositories have no settings: the parser is loaded where there is something to parse.
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    try:
        value: Any = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not valid TOML: {error}") from error
    except OSError as error:
        raise UsageError(f"{path}: can't be read: {error.strerror}") from error
    for key in keys:
        if key not in value:
            return None
        value = value[key]
        if not isinstance(value, dict):
            raise UsageError(f"{path}: {key} has to be a table")
    return dict(value)


def _checked(path: Path, values: Mapping[str, Any]) -> dict[str, Value]:
    for key, value in values.items():
        if key not in KEYS:
            from difflib import get_close_matches

            close = get_close_matches(key, KEYS, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(KEYS)}"
            raise UsageError(f"{path}: unknown key {key!r}; {hint}")
        fits, kind = KEYS[key]
        if not fits(value):
            raise UsageError(f"{path}: {key} = {value!r} has to be {kind}")
    return dict(values)


def defaults(commands: Mapping[str, Any], config: Config) -> dict[str, dict[str, Value]]:
    """The settings as defaults of the parameters of each command, for click's `default_map`.

    commands  name → click command, whose `params` have `opts` (their names as options)
    """
    return {
        name: {
            parameter.name: _values(config.values[key], parameter)
            for parameter in command.params
            for key in (option.removeprefix("--") for option in parameter.opts)
            if key in config.values
        }
        for name, command in commands.items()
    }


def _values(value: Value, parameter: Any) -> Value:
    """A setting as the parser takes it: an option that may be repeated has a list."""
    return [value] if isinstance(value, str) and parameter.multiple else value
