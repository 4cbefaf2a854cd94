"""Standard streams: models that come in by them, and streams that are closed or full."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import onnx
import pytest
from cli_harness import ACNET, ACNET_FUSED, Ran, command, environment, onnxac


@pytest.fixture(autouse=True)
def plain_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def shell(redirection: str, *arguments: object) -> Ran:
    """The command as a shell runs it, with its streams redirected."""
    done = subprocess.run(
        ["sh", "-c", f'"$@" {redirection}', "sh", *command(*arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=environment(),
        timeout=120,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr.decode())


# A model comes in.

READERS: dict[str, tuple[list[object], int]] = {
    "optimize": (["optimize", "-", "out.onnx"], 0),
    "optimize to -": (["optimize", "-", "-"], 0),
    "verify": (["verify", "-", ACNET_FUSED], 0),
    "verify after": (["verify", ACNET, "-"], 0),
    "diff": (["diff", "-", ACNET_FUSED, "-o", "diff.html"], 0),
    "explain": (["explain", "-"], 0),
    "explain node": (["explain", "-", "--node", onnx.load(ACNET).graph.node[0].name], 0),
    "bench": (["bench", "-", ACNET_FUSED, "--runs", "2"], 0),
    "check": (["check", "-"], 1),
}


@pytest.mark.parametrize("name", READERS)
def test_every_command_reads_standard_input(name: str) -> None:
    arguments, code = READERS[name]
    done = onnxac(*arguments, stdin=ACNET.read_bytes())
    assert done.code == code, done.stderr
    assert ".onnxac-" not in done.stderr
    assert b".onnxac-" not in done.stdout


@pytest.mark.parametrize("name", READERS)
def test_no_model_on_standard_input(name: str) -> None:
    done = onnxac(*READERS[name][0], stdin=b"no model")
    assert done.code == 2
    assert "not an ONNX model" in done.stderr + done.out
    assert not list(Path().iterdir())


def test_one_bad_input_does_not_silence_the_others() -> None:
    done = onnxac("check", "-", ACNET_FUSED, stdin=b"")
    assert done.code == 2
    assert "deploy.onnx: clean" in done.out


def test_standard_input_holds_one_model() -> None:
    for name in ("verify", "diff", "bench"):
        done = onnxac(name, "-", "-", stdin=ACNET.read_bytes())
        assert done.code == 2
        assert "one model only" in done.stderr


# Streams that take nothing, or give nothing.

WRITERS: dict[str, list[object]] = {
    "optimize": ["optimize", ACNET, "-"],
    "summary": ["optimize", ACNET, "out.onnx", "--summary="],
    "report": ["optimize", ACNET, "out.onnx", "--report", "-"],
    "verify": ["verify", ACNET, ACNET_FUSED],
    "diff": ["diff", ACNET, ACNET_FUSED, "-o", "diff.html"],
    "check": ["check", ACNET_FUSED],
    "check for machines": ["check", ACNET_FUSED, "--format", "json"],
    "explain": ["explain", ACNET],
    "bench": ["bench", ACNET, ACNET_FUSED, "--runs", "2"],
    "version": ["--version"],
    "help": ["--help"],
    "help of a command": ["optimize", "--help"],
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("redirection", [">/dev/full", ">&-"])
def test_standard_output_takes_nothing(name: str, redirection: str) -> None:
    done = shell(redirection, *WRITERS[name])
    assert done.code == 2
    (line,) = (s for s in done.stderr.splitlines() if s.startswith("onnxac: error: "))
    reason = "No space left on device" if "full" in redirection else "Bad file descriptor"
    assert line == f"onnxac: error: standard output: {reason}"
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.parametrize("redirection", [">&-", ">/dev/full", "2>&-", "2>/dev/full", "<&-"])
def test_streams_that_are_not_needed(redirection: str) -> None:
    """None of our files becomes a stream, and what was done stands."""
    quiet = ["-q"] if redirection.startswith(">") else []
    done = shell(redirection, "optimize", ACNET, "out.onnx", *quiet)
    assert done.code == 0, done.stderr
    assert len(onnx.load("out.onnx").graph.node) == 1
    assert [p.name for p in Path().iterdir()] == ["out.onnx"]


def test_all_streams_are_closed() -> None:
    assert shell("<&- >&- 2>&-", "optimize", ACNET, "out.onnx", "-q").code == 0
    onnx.checker.check_model("out.onnx")
    assert shell("<&- >&- 2>&-", "optimize", "bad.onnx", "out.onnx").code == 2


def test_a_closed_input_is_empty() -> None:
    done = shell("<&-", "optimize", "-", "out.onnx")
    assert (done.code, done.stderr) == (
        2,
        "onnxac: error: standard input: is empty, not an ONNX model\n",
    )


# Files that are streams.


@pytest.mark.parametrize("place", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_the_device_of_standard_output_stays(place: str) -> None:
    done = onnxac("optimize", ACNET, place)
    assert done.code == 2
    assert "or - for standard output" in done.stderr
    assert Path("/dev/stdout").is_symlink()
    done = shell("> file", "optimize", ACNET, place)
    assert done.code == 2
    assert "give -" in done.stderr


def test_a_link_to_a_device_stays() -> None:
    os.symlink("/dev/null", "link.onnx")
    done = onnxac("optimize", ACNET, "link.onnx")
    assert done.code == 2
    assert os.readlink("link.onnx") == "/dev/null"
    assert Path("/dev/null").is_char_device()


def test_a_report_goes_into_a_stream() -> None:
    """A stream is written to, in order, and never replaced."""
    done = shell("> file; echo end >> file", "optimize", ACNET, "out.onnx", "--report=/dev/stdout")
    assert done.code == 0
    text = Path("file").read_text(encoding="utf-8")
    assert text.startswith("{")
    assert text.endswith("}\nend\n")


def test_data_of_the_model_that_was_there_is_left() -> None:
    """By standard input, too, with a line that says so."""
    onnx.save(
        onnx.load(ACNET),
        "out.onnx",
        save_as_external_data=True,
        location="out.data",
        size_threshold=0,
    )
    done = onnxac("optimize", "-", "out.onnx", stdin=ACNET.read_bytes())
    assert done.code == 0
    assert "out.data is left, since another model may read it" in done.stderr
    assert Path("out.data").exists()
