"""What a command loads. Time is not tested; what takes it is.

Numbers, for whoever wonders: numpy and onnx take 0.1 s, the worker's onnxruntime as much, beside
them; onnx.reference 0.1 s more, numpy.ma and numpy.random 0.02 s each, pydantic 0.05 s.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.reference.ops import load_op

from onnxac.inference import direct
from onnxac.inference.stored import Values
from onnxac.proof.running import spawn
from onnxac.proof.running.process import Worker

SEED = Path("models/onnx/acnet_seed/B.onnx").resolve()
HEAVY = {"numpy", "onnx", "onnx_graphsurgeon", "onnxruntime", "pydantic"}
# With the proof in a process of its own, optimizing needs none of these.
SPARED = {
    "onnxac.equalizing",
    "onnxac.page",
    "onnxac.quantizing",
    "onnx.reference",
    "onnxruntime",
    "numpy.random",
    "numpy.ma",
    "pydantic",
}

LOADED = "\nimport json, sys\nsys.stderr.write('\\n' + json.dumps(sorted(sys.modules)))"


def loaded(program: str, *, variables: dict[str, str] | None = None) -> set[str]:
    """The modules that a process has loaded when it ends."""
    done = subprocess.run(
        [sys.executable, "-c", f"try:\n    {program}\nexcept SystemExit: pass{LOADED}"],
        capture_output=True,
        check=True,
        text=True,
        env=variables,
    )
    return set(json.loads(done.stderr.rsplit("\n", 1)[-1]))


def run(*arguments: str) -> str:
    return f"from onnxac.cli import run; run({list(arguments)!r})"


def test_the_package_alone_loads_nothing_of_weight() -> None:
    found = loaded("import onnxac")
    assert found & (HEAVY | {"typer", "rich", "onnxac.report"}) == set()


@pytest.mark.parametrize("arguments", [["--help"], ["optimize", "--help"], ["diff", "--help"]])
def test_help_loads_no_libraries_of_models(arguments: list[str]) -> None:
    found = loaded(run(*arguments))
    assert "rich" in found, "it was shown"
    assert found & (HEAVY | {"onnxac.report", "webbrowser", "hashlib"}) == set()


def test_completion_loads_no_libraries_of_models_and_does_not_draw() -> None:
    asked = {
        "_ONNXAC_COMPLETE": "complete_bash",
        "COMP_WORDS": "onnxac opt",
        "COMP_CWORD": "1",
    }
    found = loaded(run(), variables=asked)
    assert "typer" in found
    assert found & (HEAVY | {"rich.console", "rich.markdown", "onnxac.report"}) == set()


def test_optimizing_loads_neither_the_runtime_nor_reference_operators(tmp_path: Path) -> None:
    found = loaded(run("optimize", str(SEED), str(tmp_path / "out.onnx")))
    assert (tmp_path / "out.onnx").exists()
    assert "onnxac.proof.verification" in found, "it was proven"
    assert found & SPARED == set()


def test_the_worker_loads_no_onnx() -> None:
    found = loaded("import onnxac.proof.running.worker, onnxruntime")
    assert found & {"onnx", "onnxac.report", "typer", "rich", "onnxac.pipeline"} == set()


def test_starting_a_worker_loads_nothing_of_weight() -> None:
    assert loaded("import onnxac.proof.running.spawn") & HEAVY == set()


def test_a_process_that_was_started_ahead_is_the_one_that_works() -> None:
    with spawn.ahead():
        waiting = spawn._waiting.get()
        assert waiting is not None
        (started,) = waiting
        with Worker(60, None) as worker:
            assert worker._process is started.process
            assert worker.version
        with Worker(60, None) as second:
            assert second._process is not started.process
    assert started.process.poll() == 0


def test_a_process_that_nobody_needed_is_ended() -> None:
    with spawn.ahead():
        waiting = spawn._waiting.get()
        assert waiting is not None
        process = waiting[0].process
        assert process.poll() is None
    assert process.poll() is not None
    assert spawn._waiting.get() is None


def test_that_no_process_can_be_started_is_told_by_who_needs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with spawn.ahead(), pytest.raises(OSError, match="nowhere"):
        spawn.take()


# Constants that NumPy computes at once.

WHOLE = np.arange(24, dtype=np.int64).reshape(2, 3, 4)
CASES: list[tuple[str, list[Values], dict[str, Any]]] = [
    ("Constant", [], {"value": helper.make_tensor("v", TensorProto.INT64, [2], [3, 4])}),
    ("Identity", [WHOLE], {}),
    ("Unsqueeze", [WHOLE, np.array([0, -1])], {}),
    ("Unsqueeze", [WHOLE, np.array([3])], {}),
    ("Squeeze", [WHOLE[None, :, :1], np.array([0, -2])], {}),
    ("Concat", [WHOLE, WHOLE + 1], {"axis": -2}),
    ("Transpose", [WHOLE], {}),
    ("Transpose", [WHOLE], {"perm": [1, 0, 2]}),
    ("Reshape", [WHOLE, np.array([4, -1])], {}),
    ("Cast", [WHOLE], {"to": TensorProto.INT32}),
    ("Gather", [WHOLE, np.array([[1, -1]])], {"axis": 2}),
    ("Gather", [WHOLE, np.array(1)], {}),
    ("ScatterND", [WHOLE, np.array([[1], [-2]]), -WHOLE], {}),
    ("ScatterND", [WHOLE, np.array([[0, 1, 3], [-1, 2, -4]]), np.array([7, 8])], {}),
    ("ScatterND", [WHOLE, np.array([[0, 1], [0, 1]]), WHOLE[1, :2]], {"reduction": "none"}),
]


def reference(node: NodeProto, inputs: list[Values]) -> Values:
    parameters = {"log": lambda *_: None, "opsets": {"": 18}, "verbose": 0, "new_ops": None}
    return np.asarray(load_op("", node.op_type, 18)(node, parameters).run(*inputs)[0])


def made(op: str, inputs: list[Values], attributes: dict[str, Any]) -> NodeProto:
    names = [f"i{n}" for n in range(len(inputs))]
    return helper.make_node(op, names, ["y"], **attributes)


@pytest.mark.parametrize(("op", "inputs", "attributes"), CASES)
def test_what_is_computed_at_once_is_what_the_reference_computes(
    op: str, inputs: list[Values], attributes: dict[str, Any]
) -> None:
    node = made(op, inputs, attributes)
    found, expected = direct.compute(node, inputs), reference(node, inputs)
    assert found is not None
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    assert np.array_equal(found, expected)


@pytest.mark.parametrize(
    ("op", "inputs", "attributes"),
    [
        ("Reshape", [WHOLE[:0], np.array([0, 3])], {"allowzero": 1}),
        ("Squeeze", [WHOLE[:1]], {}),
        ("Concat", [WHOLE, WHOLE.astype(np.int32)], {"axis": 0}),
        ("Cast", [WHOLE.astype(np.float32)], {"to": TensorProto.INT32}),
        ("Cast", [WHOLE], {"to": TensorProto.FLOAT16}),
        ("Constant", [], {"value": numpy_helper.from_array(np.array(["a"], object), "v")}),
        ("Constant", [], {"value_float": 1.0}),
        ("ScatterND", [WHOLE, np.array([[0], [1]]), WHOLE], {"reduction": "add"}),
        ("ScatterND", [WHOLE, np.array([[0], [1]]), WHOLE[:, :1]], {}),
        ("Add", [WHOLE, WHOLE.astype(np.int32)], {}),
    ],
)
def test_what_means_something_else_is_left_to_the_reference(
    op: str, inputs: list[Values], attributes: dict[str, Any]
) -> None:
    assert direct.compute(made(op, inputs, attributes), inputs) is None


def test_an_attribute_without_a_type_is_left_to_the_reference() -> None:
    node = onnx.NodeProto(op_type="Transpose", input=["x"], output=["y"])
    node.attribute.append(AttributeProto(name="perm", ints=[1, 0, 2]))
    assert direct.compute(node, [WHOLE]) is None
