"""The command, run in this process or as the shell would run it."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import helper

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "models"
ACNET, ACNET_FUSED = MODELS / "onnx/acb_p1/L.onnx", MODELS / "onnx/acb_p1/deploy.onnx"
REPVGG, REPVGG_FUSED = MODELS / "onnx/repvgg/L.onnx", MODELS / "onnx/repvgg/deploy.onnx"
# Four blocks, two kinds of kernels.
NETWORK = MODELS / "onnx/repvgg/D.onnx"


@dataclass(frozen=True)
class Ran:
    """One run of the command: exit code and both streams."""

    code: int
    stdout: bytes
    stderr: str

    @property
    def out(self) -> str:
        return self.stdout.decode()


# Our own pipeline's variables would change what is printed, and where.
FOREIGN = ("GITHUB_", "CI_", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "ONNXAC")


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    own = {k: v for k, v in os.environ.items() if not k.startswith(FOREIGN)}
    return own | {"PYTHONPATH": str(ROOT)} | dict(extra or {})


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "onnxac", *map(str, arguments)]


def onnxac(
    *arguments: object,
    stdin: bytes | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Ran:
    """Run the command in a process of its own."""
    done = subprocess.run(
        command(*arguments),
        input=stdin if stdin is not None else b"",
        capture_output=True,
        cwd=cwd,
        env=environment(env),
        timeout=120,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr.decode())


def on_terminal(*arguments: object, env: dict[str, str] | None = None) -> str:
    """What a terminal is sent."""
    leader, follower = pty.openpty()
    extra = {"TERM": "xterm-256color", "COLUMNS": "100"} | (env or {})
    process = subprocess.Popen(
        command(*arguments), stdout=follower, stderr=follower, env=environment(extra)
    )
    os.close(follower)
    sent = b""
    while True:
        try:
            chunk = os.read(leader, 4096)
        except OSError:  # Linux: the other side has been closed
            break
        if not chunk:
            break
        sent += chunk
    os.close(leader)
    assert process.wait(timeout=60) == 0
    return sent.decode()


def perturbed(source: Path, target: Path, factor: float = 1.01) -> Path:
    """A copy with one weight changed."""
    model = onnx.load(source)
    tensor = next(t for t in model.graph.initializer if len(t.dims) == 4)
    values = onnx.numpy_helper.to_array(tensor).copy()
    values.flat[0] *= factor
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    onnx.save(model, target)
    return target


def tiny(name: str = "node", *, opset: int = 17, ir: int = 9, op: str = "Relu") -> onnx.ModelProto:
    """One node that nothing can be merged with."""
    x, y = (
        helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, (1, 2, 4, 4)) for n in ("x", "y")
    )
    graph = helper.make_graph([helper.make_node(op, ["x"], ["y"], name=name)], "g", [x], [y])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)
