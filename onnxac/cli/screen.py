"""Where a command writes, and how errors look.

What a command found goes to stdout, in all commands; where stdout carries a model or a
format for machines, it goes to stderr. Remarks, progress and errors always go to stderr.
Loads rich when something is printed, not before.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO, cast

import typer

from onnxac.cli.streams import abandon
from onnxac.render import safe
from onnxac.render.safe import one_line

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

PROGRESS_WIDTH = 20


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
        self.stdout_is_taken = False
        self.trouble: Exception | None = None
        self._step: Callable[[str, int, int], None] | None = None
        self._moving: Console | None = None

    @property
    def details(self) -> bool:
        """Whether lists are shown whole."""
        return self.verbose > 0

    def say(self, *what: RenderableType, wrap: bool = True) -> None:
        """Make a remark to people; not with -q."""
        if not self.quiet:
            self._tell(*what, wrap=wrap)

    def show(self, *what: RenderableType, wrap: bool = True) -> None:
        """Print what was found, laid out for people; not with -q."""
        if not self.quiet:
            stream = sys.stderr if self.stdout_is_taken else sys.stdout
            self._console(stream).print(*what, sep="\n", soft_wrap=not wrap)

    def write(self, text: str) -> None:
        """Print a result for machines as it is."""
        sys.stdout.write(text if text.endswith("\n") else f"{text}\n")

    @contextmanager
    def progress(self, what: str, *, clock: bool = False) -> Iterator[None]:
        """Tell what is going on, on a terminal only, while the block runs.

        clock  tell how long it will take as well
        """
        # With -q, rich may never be needed.
        console = None if self.quiet else self._console(sys.stderr)
        if console is None or not console.is_terminal:
            yield
            return
        from rich import progress as bars

        spinner = "line" if console.options.ascii_only else "dots"
        columns = (
            bars.SpinnerColumn(spinner),
            bars.TextColumn("{task.description}", markup=False),
            bars.BarColumn(PROGRESS_WIDTH),
            bars.TextColumn("{task.fields[count]}", markup=False),
            *([bars.TimeRemainingColumn(compact=True)] if clock else []),
        )
        with bars.Progress(*columns, console=console, transient=True) as shown:
            task = shown.add_task(one_line(what), total=None, count="")

            def step(what: str, done: int, total: int) -> None:
                count = f"{done} of {total}" if total else ""
                shown.update(
                    task,
                    description=one_line(what, console.width // 2),
                    completed=done,
                    total=total or None,
                    count=count,
                )

            self._step, self._moving = step, console
            try:
                yield
            finally:
                self._step = self._moving = None

    def step(self, what: str, done: int = 0, total: int = 0) -> None:
        """Tell what is going on now, and how much of it is done; 0 in all is not known."""
        if self._step is not None:
            self._step(what, done, total)

    def notice(self, message: str) -> None:
        """One line on stderr that is no error; not with -q."""
        from rich.text import Text

        self.say(Text.assemble(("onnxac: ", "bold"), one_line(message)), wrap=False)

    def error(self, message: str) -> None:
        """One line on stderr, in whatever mode."""
        from rich.text import Text

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
            said = "".join(traceback.format_exception(error))
            # What the exception says may be a stranger's, and hold line feeds.
            lines = (f"| {one_line(line)}\n" for line in said.splitlines())
            sys.stderr.write(
                "".join(map(safe.disarmed, lines)) if safe.in_pipeline() else "".join(lines)
            )

    def _console(self, stream: TextIO) -> Console:
        from rich.console import Console

        from onnxac.render.columns import UNLIMITED

        if stream is sys.stderr and self._moving is not None:
            # It knows the line that is redrawn, and writes above it.
            return self._moving
        return Console(
            file=cast(TextIO, _Disarmed(stream)) if safe.in_pipeline() else stream,
            # A file is as wide as it has to be, whatever COLUMNS says.
            width=None if stream.isatty() else UNLIMITED,
            color_system="auto" if self.color else None,
            highlight=False,
            markup=False,
            emoji=False,
        )


class _Disarmed:
    """A stream in a pipeline: what is written to it gives no commands to the runner."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return self._stream.write(safe.disarmed(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def screen_of(
    context: typer.Context, quiet: bool = False, verbose: int = 0, color: bool = True
) -> Screen:
    """The screen of the running command, set as its options say.

    Raises UsageError where the settings of the repository can't be used.
    """
    screen: Screen = context.obj
    if screen.trouble is not None:
        raise screen.trouble
    screen.quiet, screen.verbose = quiet, verbose
    screen.color = screen.color and color
    return screen
