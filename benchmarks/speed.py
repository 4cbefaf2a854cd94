"""What onnxac itself costs: process time and memory, on generated networks. `make bench`.

The targets are for a small AC-ResNet of 53 convolutions and 19 MB: 1 s of process time
without the proof and 2 s with it, and 0.3 s for `onnxac --help`.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper
from rich.console import Console
from rich.table import Table

ROUNDS = 3
MEASURE = """\
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], capture_output=True).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(code, used.ru_utime + used.ru_stime, used.ru_maxrss)
"""
ONNXAC = (sys.executable, "-m", "onnxac")


@dataclass(frozen=True)
class Cost:
    """Seconds of process time and megabytes at the peak, both of the best of some rounds."""

    seconds: float
    megabytes: float


def measure(*command: str) -> Cost:
    costs = []
    for _ in range(ROUNDS):
        # A process in between, because resource usage is summed over all children.
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, *command], capture_output=True, check=True
        )
        code, seconds, kilobytes = done.stdout.split()
        if int(code):
            raise RuntimeError(f"{' '.join(command)} ended with {int(code)}")
        costs.append((float(seconds), int(kilobytes) / 1000))
    return Cost(min(s for s, _ in costs), min(m for _, m in costs))


class Network:
    """A chain of AC blocks: 3×3, 1×3 and 3×1, each with its BatchNormalization, summed."""

    def __init__(self, width: int, size: int) -> None:
        self.rng = np.random.default_rng(0)
        self.nodes: list[NodeProto] = []
        self.weights: list[TensorProto] = []
        self.width, self.size, self.last = width, size, "x"

    def constant(self, name: str, shape: tuple[int, ...], low: float, high: float) -> str:
        values = self.rng.uniform(low, high, shape).astype(np.float32)
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def branch(self, name: str, taps: tuple[int, int]) -> str:
        bound = (3.0 / (self.width * taps[0] * taps[1])) ** 0.5
        weight = self.constant(f"{name}.w", (self.width, self.width, *taps), -bound, bound)
        pads = [t // 2 for t in taps] * 2
        self.nodes.append(helper.make_node("Conv", [self.last, weight], [name], name, pads=pads))
        statistics = [
            self.constant(f"{name}.{k}", (self.width,), low, high)
            for k, low, high in (
                ("gamma", 0.5, 1.0),
                ("beta", -0.2, 0.2),
                ("mean", -0.2, 0.2),
                ("var", 0.5, 2.0),
            )
        ]
        output = f"{name}.bn"
        self.nodes.append(
            helper.make_node("BatchNormalization", [name, *statistics], [output], output)
        )
        return output

    def block(self, name: str) -> None:
        parts = [self.branch(f"{name}.{a}{b}", (a, b)) for a, b in ((3, 3), (3, 1), (1, 3))]
        for op, inputs, output in (
            ("Add", parts[:2], f"{name}.s"),
            ("Add", [f"{name}.s", parts[2]], f"{name}.sum"),
            ("Relu", [f"{name}.sum"], f"{name}.y"),
        ):
            self.nodes.append(helper.make_node(op, inputs, [output], output))
        self.last = f"{name}.y"

    def model(self) -> onnx.ModelProto:
        shape = (1, self.width, self.size, self.size)
        ends = [
            helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in ("x", self.last)
        ]
        graph = helper.make_graph(self.nodes, "speed", ends[:1], ends[1:], self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def network(blocks: int, width: int, size: int) -> onnx.ModelProto:
    made = Network(width, size)
    for i in range(blocks):
        made.block(f"b{i}")
    return made.model()


def others(source: str, target: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Other simplifiers, where they are installed."""
    for name in ("onnxsim", "onnxslim"):
        if importlib.util.find_spec(name) is not None:
            entry = "import sys; from onnxslim.cli import main; main()"
            module = ("-m", name) if name == "onnxsim" else ("-c", entry)
            yield name, (sys.executable, *module, source, target)


def measured(name: str, model: onnx.ModelProto, folder: Path) -> Iterator[tuple[str, str, Cost]]:
    source, target = str(folder / "in.onnx"), str(folder / "out.onnx")
    onnx.save(model, source)
    label = f"{name}, {len(model.graph.node)} nodes, {model.ByteSize() / 1e6:,.0f} MB"
    optimize = (*ONNXAC, "optimize", source, target, "-q")
    yield label, "optimize --no-verify", measure(*optimize, "--no-verify")
    yield "", "optimize", measure(*optimize)
    yield "", "check", measure(sys.executable, "-c", CHECK, source)
    for other, command in others(source, target):
        yield "", other, measure(*command)


# `check` ends with 1 here, as it should.
CHECK = "import sys; from onnxac.cli import run; sys.exit(run(['check', sys.argv[1], '-q']) != 1)"


def figures(cost: Cost, base: float) -> tuple[str, str, str]:
    return f"{cost.seconds:.2f} s", f"{cost.seconds / base:.1f}×", f"{cost.megabytes:,.0f} MB"


def main() -> None:
    table = Table("", "", "process time", "ratio", "peak memory", box=None, header_style="dim")
    help_cost = measure(*ONNXAC, "--help")
    table.add_row("start", "--help", *figures(help_cost, help_cost.seconds))
    with tempfile.TemporaryDirectory() as folder:
        for name, model in (
            ("small", network(6, 32, 32)),
            ("AC-ResNet", network(18, 132, 14)),
            ("large", network(16, 512, 7)),
        ):
            base = None
            for label, what, cost in measured(name, model, Path(folder)):
                base = base or cost.seconds
                table.add_row(label, what, *figures(cost, base))
    Console(width=None if sys.stdout.isatty() else 120).print(table)


if __name__ == "__main__":
    main()
