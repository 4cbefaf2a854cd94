"""Memory on large models, on smaller ones: what nothing touches stays in its file.

`make bench-large` measures the same on models of gigabytes, and their time beside `cp`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

WIDTH = 256
# What onnxac needs for itself, and for the few weights that are merged at a time.
AT_ONCE = 90e6


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The benchmark, with layers of 2.4 MB."""
    monkeypatch.syspath_prepend(str(Path("benchmarks").resolve()))
    import large  # type: ignore[import-not-found]

    monkeypatch.setattr(large, "CHANNELS", WIDTH)
    monkeypatch.setattr(large, "LARGE", (WIDTH, WIDTH, 3, 3))
    monkeypatch.setattr(large, "SMALL", (WIDTH, WIDTH, 1, 1))
    found: ModuleType = large
    return found


def peak(large: ModuleType, source: Path, *options: str) -> int:
    """The most memory of its own that `optimize` had at once, in bytes."""
    target = source.with_name("out.onnx")
    command = [sys.executable, "-m", "onnxac", "optimize", str(source), str(target), "-q"]
    _, own, _ = large.measured([*command, "--no-verify", *options])
    onnx.checker.check_model(str(target))
    return int(own)


@pytest.mark.parametrize("single", [False, True], ids=["external", "single"])
def test_weights_that_nothing_merges_are_not_held(
    large: ModuleType, tmp_path: Path, single: bool
) -> None:
    source = tmp_path / "in.onnx"
    large.make(large.Case(2, 48, (), single=single), source)
    size = sum(p.stat().st_size for p in tmp_path.iterdir())
    assert size > 115e6
    assert peak(large, source) < AT_ONCE


def test_one_file_that_is_all_merged_is_held_less_than_twice(
    large: ModuleType, tmp_path: Path
) -> None:
    source = tmp_path / "in.onnx"
    large.make(large.Case(40, 0, (), single=True), source)
    assert peak(large, source) < AT_ONCE + 2 * source.stat().st_size


def decided(last: str) -> tuple[list[onnx.NodeProto], list[TensorProto]]:
    """An If that is decided."""
    bodies = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node(op, [last], [f"{name}_y"])],
            name,
            [],
            [helper.make_tensor_value_info(f"{name}_y", TensorProto.FLOAT, None)],
        )
        for name, op in (("then", "Relu"), ("else", "Neg"))
    }
    held = numpy_helper.from_array(np.array(True), "yes")
    return [helper.make_node("If", ["yes"], ["y"], **bodies)], [held]


def parted(last: str) -> tuple[list[onnx.NodeProto], list[TensorProto]]:
    """A part of a sequence."""
    nodes = [
        helper.make_node("SplitToSequence", [last, "half"], ["parts"], axis=1),
        helper.make_node("SequenceAt", ["parts", "first"], ["y"]),
    ]
    held = [("half", np.int64(WIDTH // 2)), ("first", np.int64(0))]
    return nodes, [numpy_helper.from_array(np.asarray(v), n) for n, v in held]


@pytest.mark.parametrize("end", [decided, parted])
def test_a_model_that_is_rewritten_first_is_not_held_for_that(
    large: ModuleType,
    tmp_path: Path,
    end: Callable[[str], tuple[list[onnx.NodeProto], list[TensorProto]]],
) -> None:
    source = tmp_path / "in.onnx"
    large.make(large.Case(2, 48, (), single=True), source)
    model: ModelProto = onnx.load(source)
    model.graph.node[-1].output[0] = "last"
    nodes, held = end("last")
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(held)
    model.graph.output[0].type.tensor_type.shape.dim[1].Clear()
    onnx.save(model, source)
    assert peak(large, source) < AT_ONCE
    after = onnx.load(source.with_name("out.onnx"))
    assert {"If", "SequenceAt"}.isdisjoint(n.op_type for n in after.graph.node)
