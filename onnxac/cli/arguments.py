"""What a command line means before it is parsed."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence

from onnxac.cli.options import STDIO

ISOLATED, SUMMARY = "--isolated", "--summary"
DEFAULT = "optimize"


def complete(arguments: Sequence[str], commands: Collection[str]) -> list[str]:
    """The command line that the parser is given.

    None at all asks for help. Models without a command are optimized, as `onnxac in out`
    does in other tools. `--isolated` may stand anywhere.
    """
    if not arguments:
        return ["--help"]
    end = arguments.index("--") if "--" in arguments else len(arguments)
    own, rest = list(arguments[:end]), list(arguments[end:])
    isolated = [ISOLATED] if ISOLATED in own else []
    own = [a for a in own if a != ISOLATED]
    if _names_models(own + rest, commands):
        own.insert(0, DEFAULT)
    return [*isolated, *_fill_summary(own), *rest]


def _names_models(arguments: list[str], commands: Collection[str]) -> bool:
    """Whether the command is left out: a model stands where it would be."""
    named = [a for a in arguments if not a.startswith("-") or a == STDIO]
    if not named or named[0] in commands:
        return False
    # A misspelt command is no model, and the parser says so. Behind an option may be its value.
    return any(map(_is_model, named[:1] if named[0] == arguments[0] else named))


def _is_model(argument: str) -> bool:
    return argument == STDIO or argument.endswith(".onnx") or os.path.isfile(argument)


def _fill_summary(arguments: list[str]) -> list[str]:
    """Give a bare `--summary` the empty value: parsers know no option with an optional one.

    The next argument is its FILE unless it is an option or a model.
    """
    filled = list(arguments)
    for i, argument in enumerate(arguments):
        following = arguments[i + 1] if i + 1 < len(arguments) else STDIO
        if argument == SUMMARY and following.startswith("-") | following.endswith(".onnx"):
            filled[i] = f"{SUMMARY}="
    return filled
