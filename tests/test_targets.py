"""What a model is made for: sizes that are fixed, and half precision."""

from __future__ import annotations

from pathlib import Path
from typing import get_type_hints

import numpy as np
import onnx
import pytest
from cli_harness import perturbed
from onnx import ModelProto, TensorProto, helper, numpy_helper

import onnxac
from onnxac.api import Keywords, ProofKeywords
from onnxac.cli import run
from onnxac.errors import UsageError, VerificationError
from onnxac.pipeline import Options
from onnxac.proof import Settings

Capture = pytest.CaptureFixture[str]
ONNX = Path(__file__).parent.parent / "models" / "onnx"
DYNAMIC, STATIC = ONNX / "acb_p0" / "Ldhw.onnx", ONNX / "acb_p0" / "L.onnx"
FIXED = {"input": (1, 4, 19, 21)}


def extents(value: onnx.ValueInfoProto) -> list[int | str]:
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]


def shuffled() -> ModelProto:
    """A shuffle of channels whose Reshapes compute their targets from the input's shape."""
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["n"], axis=0),
        helper.make_node("Gather", ["shape", "last"], ["w"], axis=0),
        helper.make_node("Concat", ["n", "four", "w"], ["flat"], axis=0),
        helper.make_node("Reshape", ["x", "flat"], ["y"]),
    ]
    weights = {"zero": [0], "last": [3], "four": [-1]}
    held = [numpy_helper.from_array(np.array(v, np.int64), n) for n, v in weights.items()]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2, "h", "w"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", "many", "w"])
    graph = helper.make_graph(nodes, "g", [x], [y], held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_a_fixed_shape_is_written_and_followed() -> None:
    model, report = onnxac.optimize(shuffled(), fix_shapes={"x": (3, 2, 5, 7)})
    assert extents(model.graph.input[0]) == [3, 2, 5, 7]
    assert extents(model.graph.output[0]) == [3, 10, 7]
    assert [n.op_type for n in model.graph.node] == ["Reshape"]
    assert report.verification is not None
    assert report.verification.passed
    assert report.verification.shapes == ({"x": (3, 2, 5, 7)},)


def test_a_fixed_model_is_that_of_a_static_export(tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    report = onnxac.optimize_file(DYNAMIC, out, fix_shapes=FIXED)
    model = onnx.load(out)
    static, _ = onnxac.optimize(STATIC)
    assert [extents(v) for v in (*model.graph.input, *model.graph.output)] == [
        extents(v) for v in (*static.graph.input, *static.graph.output)
    ]
    assert [n.op_type for n in model.graph.node] == ["Conv"]
    # It is the file that is proven against, as it is.
    assert report.before.path == str(DYNAMIC)
    assert onnxac.verify(DYNAMIC, out, shapes=FIXED).passed


def test_the_hint_where_shape_is_taken_for_fix_shape(tmp_path: Path, capsys: Capture) -> None:
    line = ["optimize", str(DYNAMIC), str(tmp_path / "o.onnx")]
    assert run([*line, "--shape", "input:1,4,19,21"]) == 0
    said = capsys.readouterr().err
    assert "--fix-shape input:1,4,19,21 writes it into the model" in said
    assert run([*line, "--fix-shape", "input:1,4,19,21"]) == 0
    assert capsys.readouterr().err == ""
    static = ["optimize", str(STATIC), str(tmp_path / "o.onnx")]
    assert run([*static, "--shape", "input:1,4,19,21"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        ({"other": (1,)}, "no input 'other' to fix the shape of; the inputs are: input"),
        ({"input": (1, 5, 19, 21)}, r"fixed to 1,5,19,21: its shape is batch,4,height,width"),
        ({"input": (1, 4, 19)}, "can't be fixed to 1,4,19"),
        ({"input": (1, 4, 0, 21)}, "can't be fixed to 1,4,0,21"),
    ],
)
def test_a_shape_that_does_not_fit(shapes: dict[str, tuple[int, ...]], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        onnxac.optimize(DYNAMIC, fix_shapes=shapes)


def test_one_name_is_one_extent() -> None:
    model = shuffled()
    model.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n", "n"]))
    with pytest.raises(UsageError, match="'z' can't be fixed to 2,3"):
        onnxac.optimize(model, fix_shapes={"z": (2, 3)})
    fixed, _ = onnxac.optimize(model, fix_shapes={"z": (2, 2)})
    assert extents(fixed.graph.input[0]) == [2, 2, "h", "w"]
    with pytest.raises(UsageError, match="run at one shape, and fixed to another"):
        Options(shapes={"x": (1,)}, fix_shapes={"x": (2,)})


@pytest.mark.parametrize("kind", ["repvgg", "transformer"])
def test_half_precision_is_proven_at_its_precision(kind: str, tmp_path: Path) -> None:
    source, out = ONNX / kind / "L.onnx", tmp_path / "half.onnx"
    report = onnxac.optimize_file(source, out, to="fp16")
    model, before = onnx.load(out), onnx.load(source)
    assert [v.type.tensor_type.elem_type for v in (*model.graph.input, *model.graph.output)] == [
        v.type.tensor_type.elem_type for v in (*before.graph.input, *before.graph.output)
    ]
    floats = [t for t in model.graph.initializer if t.data_type == TensorProto.FLOAT]
    assert not floats
    assert report.precision == "float16"
    assert report.after.stats.nodes == len(model.graph.node)
    assert report.after.stats.bytes < 0.7 * report.before.stats.bytes
    found = report.verification
    assert found is not None
    assert (found.passed, found.precision) == (True, "float16")
    # What float32 allows, it does not keep: the tolerance is that of the precision.
    assert not onnxac.verify(source, out, outputs_only=True).passed
    assert onnxac.verify(source, out, precision="float16").passed


def test_half_precision_hides_no_mistake(tmp_path: Path) -> None:
    source, out = ONNX / "repvgg" / "L.onnx", tmp_path / "half.onnx"
    onnxac.optimize_file(source, out, to="fp16")
    model = onnx.load(out)
    weights = [t for t in model.graph.initializer if len(t.dims) == 4]
    values = numpy_helper.to_array(weights[0]).copy()
    values.flat[np.abs(values).argmax()] *= np.float16(1.1)
    weights[0].CopyFrom(numpy_helper.from_array(values, weights[0].name))
    assert not onnxac.verify(source, model, precision="float16").passed


def test_what_half_precision_can_not_hold_is_not_written(tmp_path: Path, capsys: Capture) -> None:
    model = onnx.load(ONNX / "lora_2d" / "L.onnx")
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        tensor.CopyFrom(numpy_helper.from_array(values * np.float32(3e5), tensor.name))
    onnx.save(model, tmp_path / "large.onnx")
    out = tmp_path / "half.onnx"
    assert run(["optimize", str(tmp_path / "large.onnx"), str(out), "--to", "fp16"]) == 1
    assert "output" in capsys.readouterr().err
    assert not out.exists()
    with pytest.raises(VerificationError):
        onnxac.optimize(model, to="fp16")
    converted, report = onnxac.optimize(model, to="fp16", verify=False)
    assert report.verification is None
    assert converted.graph.node[0].op_type == "Cast"


def test_the_command_says_what_was_converted(tmp_path: Path, capsys: Capture) -> None:
    out, told = str(tmp_path / "half.onnx"), str(tmp_path / "r.json")
    assert run(["optimize", str(STATIC), out, "--to", "fp16", "--report", told]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "converted to float16; inputs and outputs keep their types" in said
    assert "in float16)" in said
    assert run(["certify", str(STATIC), out, "--report", told]) == 0
    assert run(["verify", str(STATIC), out, "--precision", "float16"]) == 0
    assert run(["verify", str(STATIC), out, "--precision", "half"]) == 2
    with pytest.raises(UsageError, match="'int8' is no type to convert to"):
        Options(to="int8")


def test_a_converted_model_can_be_optimized_again() -> None:
    half, _ = onnxac.optimize(ONNX / "levit" / "L.onnx", to="fp16")
    again, report = onnxac.optimize(half)
    assert len(again.graph.node) <= len(half.graph.node)
    assert report.verification is not None
    assert report.verification.passed


def test_every_option_is_a_keyword() -> None:
    """Type checkers know each of them, by the name that the dataclass has."""
    assert get_type_hints(Keywords).keys() == Options.__dataclass_fields__.keys()
    known = set(Settings.__dataclass_fields__) - {"names", "tick"}
    assert get_type_hints(ProofKeywords).keys() == known


def test_a_diff_can_prove(tmp_path: Path, capsys: Capture) -> None:
    """The page is written in any case, and says what was found."""
    source, deploy = str(ONNX / "acb_p1" / "L.onnx"), ONNX / "acb_p1" / "deploy.onnx"
    page, off = tmp_path / "diff.html", tmp_path / "off.onnx"
    assert run(["diff", source, str(deploy), "--verify", "-o", str(page)]) == 0
    assert "✓ equal within" in capsys.readouterr().out
    assert "Equal within" in page.read_text(encoding="utf-8")
    perturbed(deploy, off)
    assert run(["diff", source, str(off), "--verify", "-o", str(page)]) == 1
    assert "output 'output' is off by" in capsys.readouterr().err
    assert "Different by" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("command", ["optimize", "explain", "check"])
def test_a_pattern_that_keeps_nothing_is_told(
    command: str, tmp_path: Path, capsys: Capture
) -> None:
    line = [command, str(STATIC), *([str(tmp_path / "o.onnx")] if command == "optimize" else [])]
    run([*line, "--keep", "nobody*"])
    assert "no node has a name like 'nobody*', which is to be kept" in capsys.readouterr().err
    run([*line, "--keep", "*"])
    assert capsys.readouterr().err == ""
