"""Real inputs, other names, unknown operators: what the command takes, and what it says."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxac.cli import run
from onnxac.errors import RuntimeFailure, UsageError
from onnxac.pipeline import Options, optimize
from onnxac.proof import Settings, verify
from onnxac.report import Report

Capture = pytest.CaptureFixture[str]
FLOAT = TensorProto.FLOAT


def threshold(factor: float, outputs: tuple[str, ...] = ("y",), x: str = "x") -> onnx.ModelProto:
    """Only beyond 1e4 the factor matters: made-up inputs don't get there."""
    nodes = [
        helper.make_node("Greater", [x, "limit"], ["far"]),
        helper.make_node("Where", ["far", "factor", "one"], ["s"]),
        *(helper.make_node("Mul", [x, "s"], [name]) for name in outputs),
    ]
    weights = {"limit": 1e4, "factor": factor, "one": 1.0}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(x, FLOAT, ["n", 3])],
        [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.array(v, np.float32), name) for name, v in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def saved(model: onnx.ModelProto, path: Path) -> str:
    onnx.save(model, path)
    return str(path)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[str, str]:
    return saved(threshold(2), tmp_path / "a.onnx"), saved(threshold(3), tmp_path / "b.onnx")


def test_real_inputs_show_what_made_up_ones_do_not(
    pair: tuple[str, str], tmp_path: Path, capsys: Capture
) -> None:
    assert run(["verify", *pair, "--outputs-only"]) == 0
    np.savez(tmp_path / "real.npz", x=np.full((2, 3), 2e4))
    assert run(["verify", *pair, "--outputs-only", "--inputs", str(tmp_path / "real.npz")]) == 1
    assert "output 'y' is off by" in capsys.readouterr().err


def test_a_folder_of_arrays(pair: tuple[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "real"
    folder.mkdir()
    np.save(folder / "x.npy", np.full((2, 3), 2e4, np.float32))
    found = verify(*pair, Settings(inputs=(folder,)))
    assert found.verdict == "different"
    assert found.shapes[0] == {"x": (2, 3)}


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"z": np.ones((2, 3))}, "there is no array 'x' in it; it holds z"),
        ({"x": np.ones((2, 3), bool)}, "'x' is bool, the model takes float32"),
        ({"x": np.ones((2, 4, 5))}, "these inputs can't be run"),
    ],
)
def test_inputs_that_do_not_fit(
    pair: tuple[str, str], tmp_path: Path, arrays: dict[str, np.ndarray], said: str
) -> None:
    np.savez(tmp_path / "real.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=said):
        verify(*pair, Settings(inputs=(tmp_path / "real.npz",)))


def test_no_such_inputs(pair: tuple[str, str], capsys: Capture) -> None:
    assert run(["verify", *pair, "--inputs", "missing.npz"]) == 2
    assert "missing.npz: there is no such file" in capsys.readouterr().err


def test_outputs_of_another_export_are_paired_by_their_place(
    tmp_path: Path, capsys: Capture
) -> None:
    a = saved(threshold(2, ("y", "z")), tmp_path / "a.onnx")
    b = saved(threshold(2, ("13", "14"), x="input.1"), tmp_path / "b.onnx")
    assert run(["verify", a, b]) == 0
    said = capsys.readouterr().out
    assert "inputs are paired by their place, for their names differ: x with input.1" in said
    assert "outputs are paired by their place, for their names differ: y with 13, z with 14" in said


def test_outputs_are_paired_as_the_user_says(tmp_path: Path, capsys: Capture) -> None:
    def two(first: str, second: str) -> onnx.ModelProto:
        model = threshold(2, (first, second))
        model.graph.node.append(helper.make_node("Neg", [first], ["minus"]))
        model.graph.node[-2].CopyFrom(helper.make_node("Neg", [first], [second]))
        del model.graph.node[-1]
        return model

    a, b = saved(two("y", "z"), tmp_path / "a.onnx"), saved(two("z", "y"), tmp_path / "b.onnx")
    assert run(["verify", a, b]) == 1
    assert run(["verify", a, b, "--map", "y=z", "--map", "z=y"]) == 0
    capsys.readouterr()
    assert run(["verify", a, b, "--map", "y=q"]) == 2
    assert "--map y=q: 'y' or 'q' is none of the outputs" in capsys.readouterr().err
    assert run(["verify", a, b, "--map", "y"]) == 2
    assert "--map y: write the names of two outputs" in capsys.readouterr().err


def test_models_are_called_a_and_b(tmp_path: Path, capsys: Capture) -> None:
    a = saved(threshold(2), tmp_path / "a.onnx")
    b = saved(threshold(2, ("y", "z")), tmp_path / "b.onnx")
    assert run(["verify", a, b]) == 1
    said = capsys.readouterr().err
    assert "the outputs of b are y (float32), z (float32); those of a are y (float32)" in said


def mystery(op: str = "Mystery", domain: str = "elsewhere", factor: float = 1) -> onnx.ModelProto:
    """Two branches that merge, behind an operator that nobody knows."""
    rng = np.random.default_rng(1)
    w, v = (rng.standard_normal((4, 4, 3, 3)).astype(np.float32) for _ in range(2))
    v *= np.float32(factor)
    outputs = 2 if op == "NegPos" else 1
    nodes = [
        helper.make_node(op, ["x"], ["n", "m"][-outputs:], domain=domain),
        helper.make_node("Conv", ["m", "w"], ["p"], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["m", "v"], ["q"], pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["p", "q"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", FLOAT, [1, 4, 8, 8])],
        [helper.make_tensor_value_info("y", FLOAT, [1, 4, 8, 8])],
        [numpy_helper.from_array(w, "w"), numpy_helper.from_array(v, "v")],
        value_info=[helper.make_tensor_value_info("m", FLOAT, [1, 4, 8, 8])],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(domain, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def test_an_unknown_operator_does_not_keep_a_model_from_being_optimized(
    tmp_path: Path, capsys: Capture
) -> None:
    source, target = saved(mystery(), tmp_path / "in.onnx"), tmp_path / "out.onnx"
    assert run(["optimize", source, str(target)]) == 0
    said = capsys.readouterr().out
    assert "not run as a whole: it has an operator that ONNX Runtime does not know" in said
    assert [n.op_type for n in onnx.load(target).graph.node] == ["Mystery", "Conv"]
    assert run(["optimize", source, str(target), "--strict"]) == 1
    assert "the whole model is not run, it has an operator that ONNX Runtime does not know" in (
        capsys.readouterr().err
    )
    _, report = optimize(mystery(), Options())
    assert report.verification is not None
    assert report.verification.verdict == "not run"
    assert Report.from_dict(report.to_dict()) == report


def test_a_library_of_operators_is_used(tmp_path: Path, capsys: Capture) -> None:
    """Values below zero on one output, those above on the other: Microsoft's own library."""
    # To import the package sets a variable by which protobuf is slower, in each test that follows.
    spec = importlib.util.find_spec("onnxruntime_extensions")
    if spec is None or spec.origin is None:
        pytest.skip("onnxruntime_extensions is not installed")
    (library,) = map(str, Path(spec.origin).parent.glob("_extensions_pydll*.so"))
    known = ("NegPos", "ai.onnx.contrib")
    source, target = saved(mystery(*known), tmp_path / "in.onnx"), tmp_path / "out.onnx"
    other = saved(mystery(*known, factor=1.01), tmp_path / "other.onnx")
    assert run(["optimize", source, str(target), "--strict"]) == 1
    assert run(["optimize", source, str(target), "--strict", "--custom-ops", library]) == 0
    assert "✓ equal within" in capsys.readouterr().out
    assert [n.op_type for n in onnx.load(target).graph.node] == ["NegPos", "Conv"]
    assert run(["verify", source, str(target), "--custom-ops", library]) == 0
    assert run(["verify", other, str(target), "--custom-ops", library]) == 1


def test_a_library_that_is_none_is_named(tmp_path: Path, capsys: Capture) -> None:
    library = tmp_path / "lib.so"
    library.write_bytes(b"no library")
    source = saved(threshold(2), tmp_path / "a.onnx")
    other = saved(threshold(3), tmp_path / "b.onnx")
    assert run(["verify", source, other, "--custom-ops", str(library)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "lib.so" in line


def test_a_model_of_symbols_only_is_fed_what_its_weights_say() -> None:
    """All extents are open: the channels are those of the kernel, and nothing is large."""
    w = np.ones((8, 48, 3, 3), np.float32)
    made = []
    for op in ("Relu", "LeakyRelu"):
        graph = helper.make_graph(
            [
                helper.make_node("Conv", ["x", "w"], ["z"], pads=[1, 1, 1, 1]),
                helper.make_node(op, ["z"], ["y"]),
            ],
            "g",
            [helper.make_tensor_value_info("x", FLOAT, ["a", "b", "c", "d"])],
            [helper.make_tensor_value_info("y", FLOAT, None)],
            [numpy_helper.from_array(w, "w")],
        )
        opsets = [helper.make_opsetid("", 18)]
        made.append(helper.make_model(graph, opset_imports=opsets, ir_version=9))
    found = verify(made[0], made[1], Settings(memory_limit=1 << 29))
    assert found.verdict == "different"
    assert found.shapes[0] == {"x": (1, 48, 32, 32)}
    assert max(np.prod(s["x"]) for s in found.shapes) <= 1 << 20


def test_what_a_model_is_made_of_is_asked_for_where_nothing_fits() -> None:
    """A product of all extents that no made-up size has."""
    graph = helper.make_graph(
        [
            helper.make_node("Reshape", ["x", "shape"], ["z"]),
            helper.make_node("Relu", ["z"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", FLOAT, ["a", "b", "c", "d"])],
        [helper.make_tensor_value_info("y", FLOAT, None)],
        [numpy_helper.from_array(np.array([7, 11, 13]), "shape")],
    )
    opsets = [helper.make_opsetid("", 18)]
    before = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    after = onnx.ModelProto()
    after.CopyFrom(before)
    after.graph.node[1].op_type = "LeakyRelu"
    with pytest.raises(RuntimeFailure, match="--shape x:") as caught:
        verify(before, after)
    assert "\n" not in str(caught.value)
    found = verify(before, after, Settings(shapes={"x": (7, 11, 13, 1)}))
    assert found.verdict == "different"
