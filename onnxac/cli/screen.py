"""Where a command writes, and how errors look.

Loads rich when something is printed, not before.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

import typer

from onnxac.cli.streams import abandon

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

# Logs and files are wider than a terminal, whatever COLUMNS says of the one behind them.
LOG_WIDTH = 140


class Screen:
    """Both streams of one command, in the colours and the detail that were asked for.

    line      the command line, for reports
    commands  the parser of each command, by name
    """

    def __init__(self, line: str, commands: Mapping[str, Any]) -> None:
        self.line = line
        self.commands = commands
        self.quiet = False
        self.verbose = 0
        self.color = not os.environ.get("NO_COLOR")
        self._status: Any = None

    @property
    def details(self) -> bool:
        """Whether lists are shown whole."""
        return self.verbose > 0

    def say(self, *what: RenderableType, wrap: bool = True) -> None:
        """Show something to people; not with -q."""
        if not self.quiet:
            self._tell(*what, wrap=wrap)

    def show(self, *what: RenderableType, wrap: bool = True) -> None:
        """Print a result that is laid out for people; not with -q."""
        if not self.quiet:
            self._console(sys.stdout).print(*what, sep="\n", soft_wrap=not wrap)

    def write(self, text: str) -> None:
        """Print a result as it is."""
        sys.stdout.write(text if text.endswith("\n") else f"{text}\n")

    @contextmanager
    def progress(self, what: str) -> Iterator[None]:
        """Tell what is going on, on a terminal only, while the block runs."""
        console = self._console(sys.stderr)
        if self.quiet or not console.is_terminal:
            yield
            return
        with console.status(what, spinner="dots") as self._status:
            yield
        self._status = None

    def step(self, what: str) -> None:
        """Tell what is going on now."""
        if self._status is not None:
            self._status.update(what)

    def notice(self, message: str) -> None:
        """One line on stderr that is no error; not with -q."""
        from rich.text import Text

        from onnxac.render.words import one_line

        self.say(Text.assemble(("onnxac: ", "bold"), one_line(message)), wrap=False)

    def error(self, message: str) -> None:
        """One line on stderr, in whatever mode."""
        from rich.text import Text

        from onnxac.render.words import one_line

        line = Text.assemble(("onnxac: ", "bold"), ("error: ", "bold red"), one_line(message))
        self._tell(line, wrap=False)

    def _tell(self, *what: RenderableType, wrap: bool) -> None:
        try:
            self._console(sys.stderr).print(*what, sep="\n", soft_wrap=not wrap)
        except OSError:
            # Nobody can be told of it. What was done stands, and the exit code says the rest.
            abandon(2)

    def fail(self, error: Exception, code: int) -> int:
        """Tell an expected error; its traceback with -vv only."""
        self._trace(error)
        self.error(str(error))
        return code

    def fail_usage(self, error: Any) -> int:
        """Tell what is wrong with the command line, and where to read about it."""
        context = getattr(error, "ctx", None)
        path = context.command_path if context else "onnxac"
        message = " ".join(error.format_message().split()).removesuffix(".")
        self.error(f"{message}; `{path} --help` shows the usage")
        return int(error.exit_code)

    def fail_bug(self, error: Exception, code: int) -> int:
        """Tell an error that should not have been possible."""
        self._trace(error)
        hint = "" if self.verbose > 1 else "; -vv shows where"
        self.error(f"a bug in onnxac, please report it: {type(error).__name__}: {error}{hint}")
        return code

    def _trace(self, error: Exception) -> None:
        if self.verbose > 1:
            sys.stderr.write("".join(traceback.format_exception(error)))

    def _console(self, stream: TextIO) -> Console:
        from rich.console import Console

        return Console(
            file=stream,
            width=None if stream.isatty() else LOG_WIDTH,
            color_system="auto" if self.color else None,
            highlight=False,
            markup=False,
            emoji=False,
        )


def screen_of(
    context: typer.Context, quiet: bool = False, verbose: int = 0, color: bool = True
) -> Screen:
    """The screen of the running command, set as its options say."""
    screen: Screen = context.obj
    screen.quiet, screen.verbose = quiet, verbose
    screen.color = screen.color and color
    return screen
