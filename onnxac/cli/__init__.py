"""The command line: parse, call the library, print. No command decides anything.

In   arguments, standard input, and the repository's settings (`config`).
Out  an exit code, files that are whole or not there, and text (`screen`).

Requires nothing: what can't be used is told in a line. Ensures that what a command found goes to
stdout, progress and errors to stderr, and that a model goes to stdout alone.

An error is one line and an exit code, see `onnxac.errors`; a bug in onnxac is one line, too,
with its traceback behind `-vv`.

Starting up imports nothing heavy: `onnxac --help` has to be there at once. Each command
imports what it needs when it runs.
"""

from __future__ import annotations

import gc
import shlex
import signal
import sys
from collections.abc import Sequence
from copy import copy
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer

from onnxac.cli import config
from onnxac.cli.arguments import complete
from onnxac.cli.bench import bench
from onnxac.cli.certify import certify
from onnxac.cli.check import check
from onnxac.cli.diff import diff
from onnxac.cli.explain import explain
from onnxac.cli.optimize import optimize
from onnxac.cli.options import flag
from onnxac.cli.rule import rule
from onnxac.cli.screen import Screen
from onnxac.cli.streams import abandon, settle
from onnxac.cli.verify import verify
from onnxac.errors import OnnxacError, OutputError, UsageError
from onnxac.render.safe import MARKS

__all__ = ["app", "main", "run"]

INTERRUPTED, BUG = 130, 2

HELP = (
    "Collapse the branches of re-parameterizable networks in an exported ONNX model.\n\n"
    "ACNet, RepVGG, MobileOne, DBB and their kin train with parallel branches that one "
    "convolution can stand for. onnxac finds them in the .onnx file, merges them exactly, "
    "and proves the result against ONNX Runtime before it is written."
)

EPILOG = """\
[bold]Examples[/]

  optimize   [cyan]onnxac optimize in.onnx out.onnx[/]  or  [cyan]onnxac in.onnx out.onnx[/]
  many       [cyan]onnxac optimize models/ --out-dir fused --jobs 2[/]
  see        [cyan]onnxac diff in.onnx out.onnx --open[/]
  verify     [cyan]onnxac verify in.onnx out.onnx[/]
  certify    [cyan]onnxac certify in.onnx out.onnx --report report.json[/]
  measure    [cyan]onnxac bench in.onnx out.onnx[/]
  gate       [cyan]onnxac check models --format github[/]
  explain    [cyan]onnxac explain in.onnx --node /block/Add[/]  and  [cyan]onnxac rule border[/]
  notebook   [cyan]import onnxac; model, report = onnxac.optimize("in.onnx")[/]

[bold]Exit codes[/]

  0  done
  1  the outcome is not what was asked for: a mismatch, a budget, a model left unfused
  2  usage, input that can't be used, or a bug in onnxac

Defaults of a repository: \\[tool.onnxac] in pyproject.toml, or onnxac.toml;
[cyan]--isolated[/] does without.
"""

app = typer.Typer(
    help=HELP,
    epilog=EPILOG,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _flowing(text: str) -> str:
    """Each paragraph on one line: the terminal breaks lines, not the source."""
    return "\n\n".join(" ".join(p.split()) for p in text.split("\n\n"))


for command in (optimize, verify, certify, diff, check, explain, rule, bench):
    app.command(help=_flowing(command.__doc__ or ""))(command)

# What the parser raises for a wrong command line. Typer brings its own click by now, and
# gives this class no name of its own.
_CommandLineError: type[Exception] = typer.BadParameter.__bases__[0]


def _print_versions(wanted: bool) -> None:
    if wanted:
        from onnxac.cli.version import print_versions

        print_versions()
        raise typer.Exit


@app.callback()
def start(
    context: typer.Context,
    version: Annotated[
        bool,
        flag(
            "--version",
            callback=_print_versions,
            is_eager=True,
            help="Show the versions of onnxac and of what it builds on, and exit.",
        ),
    ] = False,
    isolated: Annotated[
        bool, flag("--isolated", help="Read no settings of the repository.")
    ] = False,
) -> None:
    """Read the defaults of the repository; `app` has the text for people."""
    if isolated:
        return
    try:
        context.default_map = config.defaults(context.obj.commands, config.load())
    except UsageError as error:
        # The help of a command needs no settings: whoever runs it is told.
        context.obj.trouble = error


def main() -> NoReturn:
    """Entry point of the command."""
    # What a command makes of a model lives to the end of its job; to look for garbage every 700
    # objects is a twentieth of a small job, and a fifth of a large one.
    gc.set_threshold(2_000_000, 20, 100)
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        # Under nohup a hangup is ignored, and stays so.
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _terminate)
    settle()
    for stream in (sys.stdout, sys.stderr):
        # A terminal that lacks a character shows another; it is no reason to fail.
        stream.reconfigure(errors=MARKS)  # type: ignore[union-attr]
    sys.exit(run(sys.argv[1:]))


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    """End by an exception, so that unfinished files are removed."""
    raise SystemExit(128 + number)


def _refused(error: OSError) -> OutputError:
    place = "standard output" if error.filename is None else error.filename
    return OutputError(f"{place}: {error.strerror}")


def _hide_type(parameter: Any) -> None:
    """Newer Typers show a type in Python, <list[Path]> of an argument and <bool> of a switch."""
    if parameter.param_type_name == "argument" or parameter.is_flag:
        parameter.display_type_rich = lambda **_: None
        # Typer before 0.29 asks the type, which other parameters share.
        parameter.type = copy(parameter.type)
        parameter.type.get_metavar = lambda **_: ""


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    command = typer.main.get_command(app)
    for one in (command, *getattr(command, "commands", {}).values()):
        for parameter in one.params:
            _hide_type(parameter)
    screen = Screen(
        line=shlex.join(["onnxac", *arguments]), commands=getattr(command, "commands", {})
    )
    try:
        code = command.main(
            complete(arguments, screen.commands),
            prog_name="onnxac",
            standalone_mode=False,
            obj=screen,
        )
        sys.stdout.flush()
    except OnnxacError as error:
        return screen.fail(error, error.exit_code)
    except _CommandLineError as error:
        return screen.fail_usage(error)
    except (KeyboardInterrupt, typer.Abort):
        screen.error("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever reads our output has left. What is in the buffer still must not be written
        # when the interpreter ends. Typer, which sees most of these first, ends with 1, too.
        abandon(sys.stdout.fileno())
        return 1
    except OSError as error:
        # What is written to files has said so by itself.
        if error.filename is None:
            abandon(sys.stdout.fileno())
        return screen.fail(_refused(error), BUG)
    except MemoryError:
        screen.error("out of memory; the model needs several times its size")
        return BUG
    except Exception as error:
        return screen.fail_bug(error, BUG)
    # Newer versions of Typer turn an interrupt into this code by themselves.
    if code == INTERRUPTED:
        screen.error("interrupted")
    return code if isinstance(code, int) else 0
