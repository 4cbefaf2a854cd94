"""Bad input, interrupts and terminals: one line, the right exit code, nothing half written."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import onnx
import pytest
from cli_harness import ACNET, NETWORK, command, environment, on_terminal, onnxac, tiny

from onnxac.cli import run

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def plain_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def invalid() -> onnx.ModelProto:
    model = tiny()
    model.graph.node[0].op_type = "NoSuchOperator"
    return model


def make_bad(kind: str) -> Path:
    path = Path("bad.onnx")
    if kind == "directory":
        path.mkdir()
    elif kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("This is not a model.\n" * 20, encoding="utf-8")
    elif kind == "truncated":
        path.write_bytes(ACNET.read_bytes()[:-200])
    elif kind == "invalid":
        path.write_bytes(invalid().SerializeToString())
    elif kind == "new opset":
        newest = onnx.defs.onnx_opset_version()
        path.write_bytes(tiny(opset=newest + 1).SerializeToString())
    elif kind == "new IR":
        path.write_bytes(tiny(ir=onnx.IR_VERSION + 1).SerializeToString())
    return path


BAD = ("missing", "directory", "empty", "text", "truncated", "invalid", "new opset", "new IR")


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("name", ["optimize", "verify", "check", "explain", "bench", "diff"])
def test_bad_models(kind: str, name: str, capsys: Capture) -> None:
    path = make_bad(kind)
    before = path.read_bytes() if path.is_file() else None
    others = {"optimize": ["out.onnx"], "check": [], "explain": []}.get(name, [str(ACNET)])
    assert run([name, str(path), *others]) == 2
    said = capsys.readouterr()
    (line,) = (said.out + said.err).splitlines()
    assert "bad.onnx: " in line
    if name != "check":
        assert line.startswith("onnxac: error: bad.onnx: ")
    assert [p.name for p in Path().iterdir()] == ([] if kind == "missing" else ["bad.onnx"])
    assert (path.read_bytes() if path.is_file() else None) == before


def test_bad_second_model(capsys: Capture) -> None:
    for name in ("verify", "bench", "diff"):
        assert run([name, str(ACNET), "bad.onnx"]) == 2
        assert capsys.readouterr().err == "onnxac: error: bad.onnx: no such file\n"


def test_output_folder_is_missing(capsys: Capture) -> None:
    assert run(["optimize", str(ACNET), "no/out.onnx"]) == 2
    assert "its folder no does not exist" in capsys.readouterr().err
    assert not Path("no").exists()


def test_output_is_a_device(capsys: Capture) -> None:
    os.mkfifo("pipe")
    assert run(["optimize", str(ACNET), "pipe"]) == 2
    assert "is no regular file" in capsys.readouterr().err
    assert Path("pipe").is_fifo()


def test_memory_is_short(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("onnxac.stages.survey", fail)
    assert run(["optimize", str(ACNET), "out.onnx"]) == 2
    assert capsys.readouterr().err.startswith("onnxac: error: out of memory")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_output_folder_is_read_only(capsys: Capture) -> None:
    Path("locked").mkdir(mode=0o500)
    for arguments in (["locked/out.onnx"], ["out.onnx", "--report", "locked/r.json"]):
        assert run(["optimize", str(ACNET), *arguments]) == 2
        assert "can't be written" in capsys.readouterr().err
    assert not Path("out.onnx").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["optimize"], "missing argument 'IN [OUT]'"),
        (["optimise"], "no such command 'optimise'"),
        (["optimize", "a", "b", "--seed", "3"], "no such option"),
        (["optimize", "a", "b", "c"], "c: is a third one"),
        (["optimize", "a", "b", "--seeds", "many"], "'--seeds'"),
        (["optimize", "a", "b", "--seeds", "0"], "'--seeds'"),
        (["check", "a", "--format", "xml"], "'--format'"),
        (["verify", str(ACNET), str(ACNET), "--tolerance", "-1"], "tolerance=-1.0"),
        (["verify", str(ACNET), str(ACNET), "--timeout", "0"], "timeout"),
        (["bench", str(ACNET), str(ACNET), "--provider", "None"], "no provider 'None' here"),
    ],
)
def test_usage(arguments: list[str], message: str, capsys: Capture) -> None:
    assert run(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith("onnxac: error: ")
    assert message.lower() in line.lower()


def test_names_of_files_are_no_markup(capsys: Capture) -> None:
    assert run(["check", "<b>red</b>\x1b|31m\n.onnx"]) == 2
    said = capsys.readouterr().out
    assert "<b>red</b>\ufffd|31m .onnx: no such file" in said
    assert "\x1b" not in said


def test_tracebacks_only_when_asked(capsys: Capture) -> None:
    assert run(["optimize", "bad.onnx", "out.onnx", "-v"]) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert run(["optimize", "bad.onnx", "out.onnx", "-vv"]) == 2
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert said.endswith("onnxac: error: bad.onnx: no such file\n")


def test_a_bug_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KeyError("surprise")

    monkeypatch.setattr("onnxac.stages.survey", fail)
    assert run(["optimize", str(ACNET), "out.onnx"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("onnxac: error: a bug in onnxac, please report it: KeyError: 'surprise'")
    assert run(["optimize", str(ACNET), "out.onnx", "-vv"]) == 2
    assert "Traceback" in capsys.readouterr().err
    assert not Path("out.onnx").exists()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_an_interrupt_leaves_the_old_file(number: int, code: int) -> None:
    Path("out.onnx").write_bytes(b"old")
    # Whoever runs the tests may ignore a hangup, and children would inherit that.
    before = signal.signal(number, signal.default_int_handler)
    process = subprocess.Popen(
        command("optimize", NETWORK, "out.onnx", "--seeds", 100_000),
        stderr=subprocess.PIPE,
        env=environment(),
        start_new_session=True,
    )
    signal.signal(number, before)
    deadline = time.monotonic() + 60
    # The proof has begun when the result lies beside the target.
    while not any(p.stat().st_size for p in Path().glob(".onnxac-*/out.onnx")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, number)
    said = process.communicate(timeout=60)[1].decode()
    # Python ends by the signal itself if it came while code was compiled from a string, as
    # dataclasses do; a shell sees the same code then.
    assert process.returncode in (code, -number)
    assert "Traceback" not in said
    assert [p.name for p in Path().iterdir()] == ["out.onnx"]
    assert Path("out.onnx").read_bytes() == b"old"


def test_a_hangup_that_is_ignored_stays_so() -> None:
    """As under nohup."""
    code = """
import atexit, signal, sys
signal.signal(signal.SIGHUP, signal.SIG_IGN)
atexit.register(lambda: print(signal.getsignal(signal.SIGHUP) == signal.SIG_IGN))
from onnxac.cli import main
sys.argv[1:] = ["-h"]
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        env=environment(),
        check=True,
        timeout=60,
    )
    assert done.stdout.endswith(b"True\n")


def test_a_reader_that_leaves_is_told_nothing() -> None:
    process = subprocess.Popen(
        command("check", *[ACNET] * 20, "--format", "json", "-q"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert (process.wait(timeout=120), said) == (1, b"")


def test_no_traceback_from_the_module() -> None:
    done = onnxac("optimize", "bad.onnx", "out.onnx")
    assert (done.code, done.out) == (2, "")
    assert done.stderr == "onnxac: error: bad.onnx: no such file\n"


COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def test_a_terminal_gets_colours_and_progress() -> None:
    sent = on_terminal("optimize", ACNET, "out.onnx")
    assert COLOUR.search(sent)
    assert "proving" in sent


@pytest.mark.parametrize(
    ("option", "env"), [("--no-color", {}), ("--color", {"NO_COLOR": "1"}), ("-q", {})]
)
def test_colours_can_be_switched_off(option: str, env: dict[str, str]) -> None:
    sent = on_terminal("optimize", ACNET, "out.onnx", option, env=env)
    assert not COLOUR.search(sent)
    assert ("Merged 1 block" in sent) == (option != "-q")


def test_a_pipe_gets_neither() -> None:
    done = onnxac("optimize", ACNET, "out.onnx")
    assert done.code == 0
    assert "\x1b" not in done.out
    assert "proving" not in done.out + done.stderr


def test_an_ascii_terminal_is_enough() -> None:
    done = onnxac("optimize", ACNET, "out.onnx", env={"PYTHONIOENCODING": "ascii"})
    assert done.code == 0
    assert "Merged 1 block" in done.out
    # Each mark is told from the others.
    assert ". # .  + # # #  = # # #" in done.out
    assert "\n+ equal within" in done.out
    assert "?" not in done.out
