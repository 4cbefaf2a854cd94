"""What the proof leaves out, for it can change no verdict; and what it computes in another way."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from onnxac.proof import verify
from onnxac.proof.certificate.comparison import _drawn
from onnxac.proof.judging.compare import EPSILON, Measures, _float_gap, channel_axes, gap
from onnxac.proof.judging.noise import may_draw
from onnxac.proof.running.loader import to_bytes_with
from onnxac.proof.running.process import AGAIN, Worker
from onnxac.proof.running.reference import evaluate, evaluator, read_evaluator

Array = NDArray[Any]
FLOAT = TensorProto.FLOAT
rng = np.random.default_rng(5)


def graph(nodes: list[onnx.NodeProto], weights: dict[str, Array], *outputs: str) -> onnx.ModelProto:
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", FLOAT, None)],
        [helper.make_tensor_value_info(n, FLOAT, None) for n in outputs],
        [numpy_helper.from_array(np.asarray(w), name) for name, w in weights.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


GEOMETRIES: list[tuple[tuple[int, ...], int, dict[str, Any]]] = [
    ((3, 3), 1, {}),
    ((1, 1), 1, {"strides": [2, 1]}),
    ((3, 2), 2, {"pads": [1, 0, 2, 1], "strides": [2, 3]}),
    ((3, 3), 4, {"dilations": [2, 1], "pads": [2, 2, 2, 2]}),
    ((4, 3), 1, {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    ((4, 2), 4, {"auto_pad": "SAME_LOWER", "strides": [3, 2]}),
    ((2, 2), 1, {"auto_pad": "VALID"}),
    ((3,), 2, {"pads": [1, 1], "dilations": [2]}),
    ((2, 1, 3), 1, {"pads": [0, 1, 1, 1, 0, 1]}),
]


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize(("taps", "group", "attributes"), GEOMETRIES)
def test_the_oracle_s_convolution_is_that_of_the_runtime(
    taps: tuple[int, ...], group: int, attributes: dict[str, Any], biased: bool
) -> None:
    """On integers both are exact."""
    w = rng.integers(-9, 9, (8, 4 // group, *taps)).astype(np.float32)
    b = rng.integers(-9, 9, 8).astype(np.float32)
    x = rng.integers(-9, 9, (2, 4, *(11, 10, 9)[: len(taps)])).astype(np.float32)
    names = ["x", "w", "b"] if biased else ["x", "w"]
    node = helper.make_node("Conv", names, ["y"], group=group, **attributes)
    model = graph([node], {"w": w, "b": b}, "y")
    (exact,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    (found,) = evaluator(model).run(None, {"x": x})
    np.testing.assert_array_equal(found, exact)


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.BFLOAT16])
def test_the_oracle_s_convolution_in_half_precision_rounds_once(kind: int) -> None:
    """As runtimes do; after each tap the sum would lose a digit or two."""
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    w = rng.standard_normal((4, 8, 5, 5)).astype(dtype)
    b, x = rng.standard_normal(4).astype(dtype), rng.standard_normal((1, 8, 9, 9)).astype(dtype)
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], pads=[2, 2, 2, 2])

    def evaluated(kind: Any) -> NDArray[Any]:
        given = {"w": w.astype(kind), "b": b.astype(kind)}
        made = helper.make_graph([node], "g", [_info("x", kind)], [_info("y", kind)])
        made.initializer.extend(numpy_helper.from_array(v, k) for k, v in given.items())
        model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 22)])
        (found,) = evaluator(model).run(None, {"x": x.astype(kind)})
        return np.asarray(found)

    found = evaluated(dtype)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, evaluated(np.float32).astype(dtype))


def _info(name: str, kind: Any) -> onnx.ValueInfoProto:
    code = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    return helper.make_tensor_value_info(name, code, None)


@pytest.mark.parametrize(
    ("shape", "kernel", "attributes"),
    [
        ((1, 4, 9, 9), (8, 3, 3, 3), {}),
        ((1, 4, 9, 9), (9, 2, 3, 3), {"group": 2}),
        ((1, 4, 2, 9), (8, 4, 3, 3), {}),
        ((1, 4, 9), (8, 4, 3, 3), {}),
        ((1, 4, 9, 9), (8, 4, 3, 3), {"kernel_shape": [3, 1]}),
    ],
)
def test_the_oracle_s_convolution_takes_no_shapes_that_do_not_fit(
    shape: tuple[int, ...], kernel: tuple[int, ...], attributes: dict[str, Any]
) -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], **attributes)
    made = evaluator(graph([node], {"w": np.ones(kernel, np.float32)}, "y"))
    with pytest.raises(ValueError, match="Conv of"):
        made.run(None, {"x": np.ones(shape, np.float32)})


def bodied() -> onnx.ModelProto:
    """A tensor that only a body reads, another that is read twice, and a node for nothing."""
    body = helper.make_graph(
        [helper.make_node("Add", ["early", "early"], ["inner"])],
        "b",
        [],
        [helper.make_tensor_value_info("inner", FLOAT, None)],
    )
    nodes = [
        helper.make_node("Neg", ["x"], ["early"]),
        helper.make_node("Abs", ["x"], ["twice"]),
        helper.make_node("Exp", ["x"], ["nothing"]),
        helper.make_node("Mul", ["twice", "twice"], ["square"]),
        helper.make_node("If", ["yes"], ["chosen"], then_branch=body, else_branch=body),
        helper.make_node("Add", ["chosen", "square"], ["y"]),
        helper.make_node("Clip", ["twice", "", "yes_f"], ["z"]),
    ]
    weights = {"yes": np.array(True), "yes_f": np.array(1.0, np.float32)}
    return graph(nodes, weights, "y", "z", "nothing")


@pytest.mark.parametrize("names", [["y"], ["z"], ["y", "z"], ["z", "nothing", "y"]])
def test_what_is_not_asked_for_is_not_evaluated(
    names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = evaluator(bodied())
    feeds = {"x": rng.standard_normal((2, 3)).astype(np.float32)}
    expected = made.run(names, feeds)
    ran: list[str] = []
    for node in made.rt_nodes_:
        run = node.run

        def noted(*args: Any, _run: Any = run, _op: str = node.op_type, **how: Any) -> Any:
            ran.append(_op)
            return _run(*args, **how)

        monkeypatch.setattr(node, "run", noted)
    for found, wanted in zip(evaluate(made, feeds, names), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert ("Exp" in ran) == ("nothing" in names)
    assert ("If" in ran) == ("y" in names)


def test_an_input_and_a_weight_can_be_asked_for() -> None:
    made = ReferenceEvaluator(bodied())
    x = np.ones((2, 3), np.float32)
    found = evaluate(made, {"x": x}, ["x", "yes_f", "x"])
    assert [v.tolist() for v in found] == [x.tolist(), 1.0, x.tolist()]


SHAPES = [(), (0,), (7,), (3, 5), (2, 3, 4), (1, 6, 1), (2, 3, 4, 5), (1, 4, 1, 1), (2, 3, 4, 2, 3)]


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_gap_in_the_type_of_the_tensors_is_that_in_float64(
    shape: tuple[int, ...], kind: type[np.floating[Any]]
) -> None:
    a = np.asarray(rng.standard_normal(shape), kind)
    b = np.asarray(a + 1e-6 * rng.standard_normal(shape), kind)
    found = gap([a], [b])
    wide = _float_gap(a.astype(np.float64), b.astype(np.float64), 0.0, None)
    np.testing.assert_allclose(found.distances, wide.distances, rtol=EPSILON["float32"])
    np.testing.assert_array_equal(found.scales, wide.scales)
    assert (found.axes, found.low, found.high, found.size) == (
        wide.axes,
        wide.low,
        wide.high,
        wide.size,
    )
    assert found.axes == channel_axes(shape)
    assert not found.reason
    assert found.distances.dtype == found.scales.dtype == np.float64


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        (np.nan, np.nan, False),
        (np.inf, np.inf, False),
        (np.inf, -np.inf, True),
        (np.nan, 1.0, True),
        (1.0, np.nan, True),
        (1.0, np.inf, True),
        (-3e38, 3e38, False),
    ],
)
def test_what_is_not_finite_is_seen(first: float, second: float, reason: bool) -> None:
    a, b = np.ones((2, 3, 4), np.float32), np.ones((2, 3, 4), np.float32)
    a[1, 2, 3], b[1, 2, 3] = first, second
    found = gap([a], [b])
    assert bool(found.reason) == reason
    assert bool(found.relative[0]) == (reason or first != second) or np.isnan(first)


def test_what_is_known_of_the_first_is_taken_from_before() -> None:
    a, b, c = (rng.standard_normal((2, 3, 4)).astype(np.float32) for _ in range(3))
    measured: dict[int, Measures] = {}
    gap([a], [b], measured=measured)
    again, anew = gap([a], [c], measured=measured), gap([a], [c])
    for name in ("distances", "scales"):
        np.testing.assert_array_equal(getattr(again, name), getattr(anew, name))
    assert (again.low, again.high, again.size) == (anew.low, anew.high, anew.size)


def test_a_model_runs_anew_only_where_it_may_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two sums in another order differ by rounding, so that noise is asked for."""
    runs: Counter[int | None] = Counter()
    run = Worker.run

    def noted(self: Worker, key: str, moved: int | None = None, *rest: Any, **how: Any) -> Any:
        runs[moved] += 1
        return run(self, key, moved, *rest, **how)

    monkeypatch.setattr(Worker, "run", noted)
    w = rng.standard_normal((64, 64)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    before, after = (graph(nodes, {"w": m}, "y") for m in (w, w * np.float32(1 + 1e-5)))
    for made in (before, after):
        del made.graph.input[0].type.tensor_type.shape.dim[:]
        made.graph.input[0].type.tensor_type.shape.dim.extend(
            [onnx.TensorShapeProto.Dimension(dim_value=n) for n in (3, 64)]
        )
    assert verify(before, after).verdict == "different"
    assert runs[0]
    assert not runs[AGAIN]
    before.opset_import.append(helper.make_opsetid("mine", 1))
    assert not may_draw(before)


@pytest.mark.parametrize(
    ("node", "draws"),
    [
        (helper.make_node("Relu", ["x"], ["y"]), False),
        (helper.make_node("RandomNormalLike", ["x"], ["y"]), True),
        (helper.make_node("Dropout", ["x"], ["y"]), True),
        (helper.make_node("Relu", ["x"], ["y"], domain="mine"), True),
        (helper.make_node("Called", ["x"], ["y"], domain="inside"), False),
    ],
)
def test_operators_that_may_draw(node: onnx.NodeProto, draws: bool) -> None:
    plain = [helper.make_node("Relu", ["x"], ["y"])]
    model = graph([node], {}, "y")
    standard = [helper.make_opsetid("", 18)]
    called = helper.make_function("inside", "Called", ["x"], ["y"], plain, standard)
    model.functions.append(called)
    assert may_draw(model) == draws
    # In the body of an If, and in a function.
    body = helper.make_graph([node], "b", [], [helper.make_tensor_value_info("y", FLOAT, None)])
    choice = helper.make_node("If", ["yes"], ["z"], then_branch=body, else_branch=body)
    nested = graph([choice], {"yes": np.array(True)}, "z")
    nested.functions.append(called)
    assert may_draw(nested) == draws
    nested.functions.append(helper.make_function("inside", "O", [], [], [choice], standard))
    del nested.graph.node[:]
    assert may_draw(nested) == draws


@pytest.mark.parametrize("most", [1, 4, 12, 30])
def test_of_too_many_impulses_each_channel_has_its_turn(most: int) -> None:
    shape = (1, 12, 30)
    grid = np.array(list(itertools.product(*map(range, shape))))
    probes, chosen = _drawn(np.arange(len(grid)), grid, most)
    assert len(chosen) == len(np.unique(chosen, axis=0)) == int(probes.max()) + 1 <= most
    for axis, length in enumerate(shape):
        if most <= length:
            assert len(np.unique(chosen[:, axis])) == most
        else:
            assert len(np.unique(chosen[:, axis])) == length
    again = {_drawn(np.arange(len(grid)), grid, most)[1].tobytes() for _ in range(5)}
    assert len(again) > 1


def test_impulses_that_share_a_probe_stay_together() -> None:
    grid = np.array(list(itertools.product(range(1), range(8), range(6))))
    probes = np.arange(len(grid)) // 2
    found, chosen = _drawn(probes, grid, 5)
    assert np.bincount(found).tolist() == [2] * 5
    pairs = {tuple(map(tuple, grid[probes == p])) for p in range(24)}
    assert {tuple(map(tuple, chosen[found == p])) for p in range(5)} <= pairs


def test_further_outputs_are_written_behind_a_model() -> None:
    """Protobuf reads two messages one after the other as one."""
    model = bodied()
    read = onnx.ModelProto.FromString(to_bytes_with(model, ["twice", "y", "twice"], is_file=True))
    assert [o.name for o in read.graph.output] == ["y", "z", "nothing", "twice"]
    del read.graph.output[-1]
    assert read == model
    assert to_bytes_with(model, ["y"], is_file=True) == model.SerializeToString()


def test_in_float64_weights_are_held_as_arrays(tmp_path: Path) -> None:
    model = bodied()
    model.graph.initializer.append(numpy_helper.from_array(np.arange(3), "whole"))
    path = tmp_path / "m.onnx"
    onnx.save(model, path)
    made = read_evaluator(str(path), None, wide=True)
    assert not made.proto_.graph.initializer
    assert {n: v.dtype.name for n, v in made.rt_inits_.items()} == {
        "yes": "bool",
        "yes_f": "float64",
        "whole": "int64",
    }
    x = rng.standard_normal((2, 3))
    expected = evaluator(model).run(["y", "z"], {"x": x.astype(np.float32)})
    for found, wanted in zip(evaluate(made, {"x": x}, ["y", "z"]), expected, strict=True):
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, wanted, rtol=1e-6)
