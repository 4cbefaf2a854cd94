"""The verifier: what it must reject, what it must accept, and what it must survive."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from onnxac.errors import ModelError, RuntimeFailure, UsageError, VerificationError
from onnxac.proof import Settings, raise_if_failed
from onnxac.proof.case import Case
from onnxac.proof.running.signature import check_shapes
from onnxac.proof.verification import run_both
from onnxac.report import Verification

Array = NDArray[Any]
Dims = Sequence[int | str | None]
FLOAT = TensorProto.FLOAT
FIXED: Dims = (1, 4, 9, 8)
DYNAMIC: Dims = ("n", 4, "h", "w")


def verify(
    before: onnx.ModelProto | str | Path, after: onnx.ModelProto | str | Path, **options: Any
) -> Verification:
    """Run two models, even where nothing in them differs."""
    settings = Settings(**options)
    settings.check()
    case = Case.of(before, after, settings)
    return run_both(case, check_shapes(case.signature, settings.shapes), settings)


def model(
    nodes: Sequence[onnx.NodeProto],
    weights: dict[str, Array] | None = None,
    *,
    x: Dims | None = FIXED,
    y: Dims | None = None,
    x_type: int = FLOAT,
    y_type: int = FLOAT,
    outputs: Sequence[str] = ("y",),
) -> onnx.ModelProto:
    graph = helper.make_graph(
        list(nodes),
        "g",
        [] if x is None else [helper.make_tensor_value_info("x", x_type, x)],
        [helper.make_tensor_value_info(name, y_type, y) for name in outputs],
        [numpy_helper.from_array(np.asarray(w), name) for name, w in (weights or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def kernels(dtype: Any = np.float32) -> dict[str, Array]:
    rng = np.random.default_rng(7)
    w = rng.standard_normal((8, 4, 3, 3)) / 6
    return {"w": w.astype(dtype), "b": rng.standard_normal(8).astype(dtype)}


def conv(weights: dict[str, Array], x: Dims = FIXED, **options: Any) -> onnx.ModelProto:
    inputs = ["x", "w", "b"] if "b" in weights else ["x", "w"]
    node = helper.make_node("Conv", inputs, ["y"], pads=[1, 1, 1, 1])
    return model([node], weights, x=x, **options)


def two_branches(weights: dict[str, Array], x: Dims = FIXED) -> onnx.ModelProto:
    """The same function as `conv`: half of the kernel and the bias in each branch, unevenly."""
    part = np.float32(0.3) * weights["w"]
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["y1"], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["x", "w2"], ["y2"], pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["y1", "y2"], ["y"]),
    ]
    return model(nodes, {"w1": part, "b1": weights["b"], "w2": weights["w"] - part}, x=x)


def offset_and_back(weights: dict[str, Array]) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """A bias of some 5000 that the next layer's mean takes away, and the same in one layer."""
    far = np.linspace(4000, 5000, 8, dtype=np.float32) + weights["b"]
    mean = np.linspace(4000, 5000, 8, dtype=np.float32)
    ones = np.ones(8, np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w", "far"], ["z"], pads=[1, 1, 1, 1]),
        helper.make_node(
            "BatchNormalization", ["z", "one", "b", "mean", "one"], ["y"], epsilon=0.0
        ),
    ]
    zero = 0 * ones
    before = model(nodes, {"w": weights["w"], "far": far, "one": ones, "b": zero, "mean": mean})
    exact = far.astype(np.float64) - mean.astype(np.float64)
    return before, conv({"w": weights["w"], "b": exact.astype(np.float32)})


def assert_rejected(before: onnx.ModelProto, after: onnx.ModelProto, match: str = "") -> None:
    verification = verify(before, after)
    assert not verification.passed
    with pytest.raises(VerificationError, match=match) as caught:
        raise_if_failed(verification)
    assert "\n" not in str(caught.value)


def assert_accepted(before: onnx.ModelProto, after: onnx.ModelProto) -> None:
    verification = verify(before, after)
    assert verification.passed, verification
    raise_if_failed(verification)


class TestAccepts:
    def test_fused_branches(self) -> None:
        verification = verify(two_branches(kernels()), conv(kernels()))
        raise_if_failed(verification)
        (output,) = verification.outputs
        assert 0 < output.relative < output.tolerance < 1e-6
        assert output.max_abs == pytest.approx(output.relative * output.scale)
        assert verification.shapes == ({"x": (1, 4, 9, 8)},)
        assert verification.runs == 7
        assert verification.skipped == ()
        assert verification.runtime.startswith("onnxruntime 1.")
        assert verification.runtime.endswith("CPU, optimizations off")

    def test_same_answer_on_each_call(self) -> None:
        pair = two_branches(kernels()), conv(kernels())
        assert verify(*pair) == verify(*pair)

    def test_more_seeds_are_more_runs(self) -> None:
        assert verify(conv(kernels()), conv(kernels()), seeds=6).runs == 10

    def test_dynamic_sizes_of_every_parity(self) -> None:
        shapes = verify(two_branches(kernels(), DYNAMIC), conv(kernels(), DYNAMIC)).shapes
        sizes = [s["x"] for s in shapes]
        assert {(h % 2, w % 2) for _, _, h, w in sizes} == {(0, 0), (0, 1), (1, 0), (1, 1)}
        assert {n for n, *_ in sizes} == {1, 2, 3}

    def test_paths_with_external_data(self, tmp_path: Path) -> None:
        paths = [tmp_path / "before.onnx", tmp_path / "after.onnx"]
        for path, built in zip(paths, (two_branches(kernels()), conv(kernels())), strict=True):
            location = path.name + ".data"
            onnx.save(built, path, save_as_external_data=True, location=location, size_threshold=0)
        raise_if_failed(verify(paths[0], str(paths[1])))

    def test_ill_conditioned_net(self) -> None:
        verification = verify(*offset_and_back(kernels()))
        raise_if_failed(verification)
        assert verification.worst is not None
        assert verification.worst.relative > 1e-6

    def test_deep_net_that_amplifies_rounding(self) -> None:
        """Sixty blocks: each amplifies what the one before is off by."""
        rng = np.random.default_rng(3)
        before, after = [], []
        weights: dict[str, Array] = {}
        for i in range(60):
            source, target = ("x" if i == 0 else f"x{i}"), ("y" if i == 59 else f"x{i + 1}")
            v, w = (rng.standard_normal((2, 4, 4, 3, 3)) / 5).astype(np.float32)
            weights |= {f"v{i}": v, f"w{i}": w, f"s{i}": v + w}
            before += [
                helper.make_node("Conv", [source, f"v{i}"], [f"a{i}"], pads=[1, 1, 1, 1]),
                helper.make_node("Conv", [source, f"w{i}"], [f"b{i}"], pads=[1, 1, 1, 1]),
                helper.make_node("Add", [f"a{i}", f"b{i}"], [f"c{i}"]),
                helper.make_node("Relu", [f"c{i}"], [target]),
            ]
            after += [
                helper.make_node("Conv", [source, f"s{i}"], [f"c{i}"], pads=[1, 1, 1, 1]),
                helper.make_node("Relu", [f"c{i}"], [target]),
            ]
        verification = verify(model(before, weights), model(after, weights))
        raise_if_failed(verification)
        assert verification.worst is not None
        assert verification.worst.tolerance > 1e-6

    def test_output_that_is_zero_everywhere(self) -> None:
        zero = {"w": np.zeros((8, 4, 3, 3), np.float32), "b": np.full(8, -1, np.float32)}
        nodes = [
            helper.make_node("Conv", ["x", "w", "b"], ["z"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["z"], ["y"]),
        ]
        assert_accepted(model(nodes, zero), model(nodes, zero))

    @pytest.mark.parametrize("dtype", [np.float16, np.float32])
    def test_real_types(self, dtype: Any) -> None:
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        pair = conv(kernels(dtype), x_type=kind, y_type=kind)
        assert_accepted(pair, pair)

    @pytest.mark.parametrize("kind", [TensorProto.DOUBLE, TensorProto.BFLOAT16])
    def test_types_that_the_runtime_lacks(self, kind: int) -> None:
        dtype = helper.tensor_dtype_to_np_dtype(kind)
        built = conv(kernels(dtype), x_type=kind, y_type=kind)
        verification = verify(built, built, seeds=1)
        raise_if_failed(verification)
        assert "reference evaluator" in verification.runtime

    def test_nan_and_infinities_at_the_same_places(self) -> None:
        nodes = [helper.make_node("Log", ["x"], ["y"])]
        assert_accepted(model(nodes), model(nodes))

    def test_only_nan_is_no_proof(self) -> None:
        weights = {"nan": np.array(np.nan, np.float32)}
        before, after = (
            model([helper.make_node(op, ["x", "nan"], ["y"])], weights) for op in ("Mul", "Add")
        )
        verification = verify(before, after)
        assert verification.verdict == "not shown"
        assert verification.unseen == ("output 'y': it was nowhere finite",)


def changed(weights: dict[str, Array], change: Callable[[Array], None]) -> dict[str, Array]:
    copy = weights["w"].copy()
    change(copy)
    return weights | {"w": copy}


class TestRejects:
    def test_one_weight_off_by_a_thousandth(self) -> None:
        def scale(w: Array) -> None:
            w[5, 2, 0, 1] *= np.float32(1.001)

        assert_rejected(two_branches(kernels()), conv(changed(kernels(), scale)), "off by")

    def test_a_swapped_tap(self) -> None:
        def swap(w: Array) -> None:
            w[3, 1, 0, 0], w[3, 1, 0, 1] = w[3, 1, 0, 1], w[3, 1, 0, 0]

        assert_rejected(two_branches(kernels()), conv(changed(kernels(), swap)), "off by")

    def test_a_dropped_bias(self) -> None:
        weights = kernels()
        assert_rejected(conv(weights), conv({"w": weights["w"]}), "output 'y' is off by")

    def test_a_border_that_reads_the_padding_of_a_bias(self) -> None:
        """1x1 with a bias, then 3x3 over zero padding: fused naively, right inside only."""
        weights = kernels()
        inner = {"v": np.eye(4, dtype=np.float32)[..., None, None], "c": np.ones(4, np.float32)}
        nodes = [
            helper.make_node("Conv", ["x", "v", "c"], ["z"]),
            helper.make_node("Conv", ["z", "w"], ["y"], pads=[1, 1, 1, 1]),
        ]
        naive = {"w": weights["w"], "b": weights["w"].sum(axis=(1, 2, 3))}
        assert_rejected(model(nodes, {"w": weights["w"]} | inner), conv(naive), "off by")

    def test_an_error_for_negative_inputs_only(self) -> None:
        relu = [helper.make_node("Relu", ["x"], ["y"])]
        leaky = [helper.make_node("LeakyRelu", ["x"], ["y"], alpha=0.001)]
        assert_rejected(model(relu), model(leaky), "off by")

    def test_an_error_at_odd_heights_only(self) -> None:
        def pool(ceil_mode: int) -> onnx.ModelProto:
            node = helper.make_node(
                "MaxPool", ["x"], ["y"], kernel_shape=[2, 1], strides=[2, 1], ceil_mode=ceil_mode
            )
            return model([node], x=DYNAMIC)

        assert_rejected(
            pool(0), pool(1), r"output 'y' has shape \(.*\), where the original model has"
        )

    def test_an_error_at_larger_batches_only(self) -> None:
        def reshape(target: list[int]) -> onnx.ModelProto:
            nodes = [helper.make_node("Reshape", ["x", "s"], ["y"])]
            return model(nodes, {"s": np.array(target, np.int64)}, x=("n", 4))

        with pytest.raises(VerificationError, match=r"optimized .* does not run with x=\(2,4\)"):
            raise_if_failed(verify(reshape([-1, 2, 2]), reshape([1, 2, 2])))

    def test_a_shape_with_the_same_values(self) -> None:
        identity = [helper.make_node("Identity", ["x"], ["y"])]
        flatten = [helper.make_node("Flatten", ["x"], ["y"])]
        assert_rejected(model(identity), model(flatten), "has shape")

    def test_nan_where_there_was_a_number(self) -> None:
        identity = [helper.make_node("Abs", ["x"], ["y"])]
        root = [
            helper.make_node("Sqrt", ["x"], ["r"]),
            helper.make_node("Mul", ["r", "r"], ["y"]),
        ]
        assert_rejected(model(identity), model(root), "is nan at")

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("factor", [1e-30, 1e30])
    def test_something_where_there_was_zero(self, dtype: Any, factor: float) -> None:
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        before, after = (
            model(
                [helper.make_node("Mul", ["x", "c"], ["y"])],
                {"c": np.array(c, dtype)},
                x_type=kind,
                y_type=kind,
            )
            for c in (0, factor)
        )
        assert_rejected(before, after, "off by")

    def test_an_index_that_flips(self) -> None:
        best = [helper.make_node("ArgMax", ["x"], ["y"], axis=1)]
        worst = [helper.make_node("ArgMin", ["x"], ["y"], axis=1)]
        kind = TensorProto.INT64
        assert_rejected(model(best, y_type=kind), model(worst, y_type=kind), "int64 must be equal")

    def test_a_string(self) -> None:
        nodes = [helper.make_node("Identity", ["x"], ["y"])]
        string = TensorProto.STRING
        before = model(nodes, x=(3,), x_type=string, y_type=string)
        turn = helper.make_node("Gather", ["x", "i"], ["y"])
        order = {"i": np.array([1, 2, 0])}
        after = model([turn], order, x=(3,), x_type=string, y_type=string)
        assert_accepted(before, before)
        assert_rejected(before, after, "must be equal")

    def test_a_half_precision_bias(self) -> None:
        weights = kernels(np.float16)
        half: dict[str, Any] = {"x_type": TensorProto.FLOAT16, "y_type": TensorProto.FLOAT16}
        off = weights | {"b": weights["b"] + np.float16(0.05)}
        assert_rejected(conv(weights, **half), conv(off, **half), "off by")

    @pytest.mark.parametrize("perm", [[0, 1, 2], [0, 2, 1]])
    def test_scores_beside_coordinates(self, perm: list[int]) -> None:
        """An error in one small channel, by a part in a hundred thousand of the others."""

        def detector(score: float) -> onnx.ModelProto:
            scale = np.array([640, 640, 640, score], np.float32)[:, None]
            nodes = [
                helper.make_node("Mul", ["x", "s"], ["z"]),
                helper.make_node("Transpose", ["z"], ["y"], perm=perm),
            ]
            return model(nodes, {"s": scale}, x=(1, 4, 100))

        place = r"in \[:, 3\]" if perm == [0, 1, 2] else r"in \[..., 3\]"
        assert_rejected(detector(1e-3), detector(1.01e-3), place)

    def test_a_tie_that_flips(self) -> None:
        """Which of 0.3 x and 3 (0.1 x) is larger depends on rounding: they are what is judged."""
        weights = {"c": np.array(0.1, np.float32), "d": np.array(3.1, np.float32)}
        weights["e"] = weights["c"] * weights["d"]
        kind = TensorProto.INT64
        tail = [
            helper.make_node("Concat", ["a", "b"], ["v"], axis=0),
            helper.make_node("ArgMax", ["v"], ["y"], axis=0),
        ]
        once = helper.make_node("Mul", ["x", "e"], ["a"])
        twice = [
            helper.make_node("Mul", ["x", "c"], ["m"]),
            helper.make_node("Mul", ["m", "d"], ["b"]),
        ]
        same = helper.make_node("Mul", ["x", "e"], ["b"])
        verification = verify(
            model([once, *twice, *tail], weights, y_type=kind),
            model([once, same, *tail], weights, y_type=kind),
        )
        raise_if_failed(verification)
        assert any("a tie decides ArgMax 'y' there" in s for s in verification.skipped)
        assert [o.name for o in verification.inner] == ["b"]

    def test_a_wide_noise_floor_hides_no_error(self) -> None:
        """In an ill-conditioned net the tolerance grows, but by its measured noise only."""
        before, after = offset_and_back(kernels())
        bias = numpy_helper.to_array(after.graph.initializer[1]) + np.float32(0.01)
        after.graph.initializer[1].CopyFrom(numpy_helper.from_array(bias, "b"))
        assert_rejected(before, after, "off by")


class TestInterface:
    def test_another_name(self) -> None:
        """Exporters number their outputs: where no name is kept, the place is."""
        before = model([helper.make_node("Relu", ["x"], ["y"])])
        after = model([helper.make_node("Relu", ["x"], ["z"])], outputs=["z"])
        verification = verify(before, after)
        assert verification.passed
        note = "outputs are paired by their place, for their names differ: y with z"
        assert verification.skipped == (note,)

    def test_another_type(self) -> None:
        cast = [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.DOUBLE)]
        with pytest.raises(VerificationError, match=r"y \(float64\)"):
            verify(conv(kernels()), model(cast, y_type=TensorProto.DOUBLE))

    @pytest.mark.parametrize(
        "options",
        [
            {"seeds": 0},
            {"tolerance": -0.1},
            {"tolerance": 1.0},
            {"timeout": 0},
            {"memory_limit": 0},
            {"shapes": {"z": (1,)}},
            {"shapes": {"x": (1, 4, 9)}},
            {"shapes": {"x": (1, 4, 9, 9)}},
        ],
    )
    def test_options_out_of_range(self, options: dict[str, Any]) -> None:
        with pytest.raises(UsageError):
            verify(conv(kernels()), conv(kernels()), **options)

    def test_own_tolerance(self) -> None:
        pair = two_branches(kernels()), conv(kernels())
        assert verify(*pair, tolerance=1e-3).passed
        assert not verify(*pair, tolerance=0).passed
        assert verify(pair[1], pair[1], tolerance=0).passed

    def test_own_shape(self) -> None:
        built = conv(kernels(), DYNAMIC)
        assert verify(built, built, shapes={"x": (1, 4, 5, 6)}).shapes == ({"x": (1, 4, 5, 6)},)

    def test_external_data_needs_a_path(self, tmp_path: Path) -> None:
        path = tmp_path / "m.onnx"
        onnx.save(conv(kernels()), path, save_as_external_data=True, size_threshold=0)
        with pytest.raises(UsageError, match="path"):
            verify(onnx.load(path, load_external_data=False), path)

    def test_no_such_file(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match=r"missing\.onnx can't be read"):
            verify(tmp_path / "missing.onnx", conv(kernels()))

    def test_onnxruntime_is_not_imported_with_the_module(self) -> None:
        code = "import sys, onnxac.proof; sys.exit('onnxruntime' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class TestInputs:
    def test_indices_into_a_small_table(self) -> None:
        """Three rows: indices up to 8 are too many, up to 2 are not."""
        nodes = [helper.make_node("Gather", ["t", "x"], ["y"])]
        table = {"t": np.arange(3, dtype=np.float32)}
        built = model(nodes, table, x=("n",), x_type=TensorProto.INT64)
        assert_accepted(built, built)

    def test_an_initializer_that_is_an_input_needs_no_feed(self) -> None:
        built = conv(kernels())
        built.graph.input.append(helper.make_tensor_value_info("w", FLOAT, [8, 4, 3, 3]))
        assert_accepted(built, built)

    def test_a_shared_symbol_has_one_value(self) -> None:
        built = model([helper.make_node("Add", ["x", "z"], ["y"])], x=("n", 3))
        built.graph.input.append(helper.make_tensor_value_info("z", FLOAT, ["n", 3]))
        verification = verify(built, built)
        assert len(verification.shapes) > 1
        assert all(s["x"] == s["z"] for s in verification.shapes)

    def test_a_batch_that_is_not_on_the_first_axis(self) -> None:
        """Samples of any number, and a state [layers, batch, hidden], neither named."""
        nodes = [
            helper.make_node("Reshape", ["x", "one"], ["samples"]),
            helper.make_node("Reshape", ["s", "two"], ["state"]),
            helper.make_node("Add", ["samples", "state"], ["y"]),
        ]
        shapes = {"one": np.array([1, 16]), "two": np.array([2, 1])}
        built = model(nodes, shapes, x=(None, None))
        built.graph.input.append(helper.make_tensor_value_info("s", FLOAT, [2, None, 1]))
        assert verify(built, built).shapes == ({"x": (1, 16), "s": (2, 1, 1)},)

    def test_a_sequence(self) -> None:
        built = model([helper.make_node("ConcatFromSequence", ["x"], ["y"], axis=0)], x=None)
        element = helper.make_tensor_type_proto(FLOAT, [2, 3])
        kind = helper.make_sequence_type_proto(element)
        built.graph.input.append(helper.make_value_info("x", kind))
        assert_accepted(built, built)

    def test_an_unknown_rank(self) -> None:
        built = model([helper.make_node("Relu", ["x"], ["y"])])
        built.graph.input[0].type.tensor_type.ClearField("shape")
        with pytest.raises(UsageError, match="shape of input 'x' is unknown"):
            verify(built, built)
        raise_if_failed(verify(built, built, shapes={"x": (2, 3)}))

    def test_no_inputs(self) -> None:
        built = model([helper.make_node("Identity", ["w"], ["y"])], kernels(), x=None)
        assert_accepted(built, built)


class TestOriginalsOwnLimits:
    def test_a_batch_that_is_baked_in(self) -> None:
        nodes = [helper.make_node("Reshape", ["x", "s"], ["y"])]
        built = model(nodes, {"s": np.array([1, 2, 2], np.int64)}, x=("n", 4))
        verification = verify(built, built)
        assert verification.shapes == ({"x": (1, 4)},)
        assert verification.skipped[0].startswith("the original model rejects x=(2,4): ")

    def test_a_size_that_is_baked_in(self) -> None:
        """A dense layer after a 128-pixel map: no smaller size runs."""
        nodes = [
            helper.make_node("Flatten", ["x"], ["f"]),
            helper.make_node("MatMul", ["f", "w"], ["y"]),
        ]
        built = model(nodes, {"w": np.ones((128 * 128, 2), np.float32)}, x=("n", 1, "h", "w"))
        assert {s["x"][1:] for s in verify(built, built).shapes} == {(1, 128, 128)}

    def test_an_original_that_does_not_run(self) -> None:
        nodes = [helper.make_node("Reshape", ["x", "s"], ["y"])]
        built = model(nodes, {"s": np.array([7, 7], np.int64)})
        with pytest.raises(
            RuntimeFailure, match=r"original model itself does not run .*--shape x:"
        ):
            verify(built, built)

    def test_an_operator_that_nobody_knows(self) -> None:
        built = model([helper.make_node("Mystery", ["x"], ["y"], domain="elsewhere")])
        built.opset_import.append(helper.make_opsetid("elsewhere", 1))
        verification = verify(built, built)
        assert verification.verdict == "not run"
        assert "elsewhere:Mystery" in verification.unrun
        raise_if_failed(verification, strict=False)
        with pytest.raises(RuntimeFailure, match=r"can't be run: .*elsewhere:Mystery"):
            raise_if_failed(verification)

    def test_random_outputs_are_left_out(self) -> None:
        before, after = (
            model(
                [
                    helper.make_node("RandomNormalLike", ["x"], ["r"], mean=mean),
                    helper.make_node("Relu", ["x"], ["y"]),
                ],
                outputs=["y", "r"],
            )
            for mean in (0.0, 1.0)
        )
        verification = verify(before, after)
        assert [o.name for o in verification.outputs] == ["y"]
        assert verification.skipped == (
            "output 'r': the original itself gives another result each time",
        )

    def test_only_random_outputs_prove_nothing(self) -> None:
        before, after = (
            model([helper.make_node("RandomNormalLike", ["x"], ["y"], mean=mean)])
            for mean in (0.0, 1.0)
        )
        with pytest.raises(VerificationError, match="not shown to be equal: output 'y'"):
            raise_if_failed(verify(before, after))


class TestSurvives:
    @pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory limits: Linux only")
    def test_more_memory_than_there_may_be(self) -> None:
        nodes = [helper.make_node("ConstantOfShape", ["s"], ["y"])]
        built = model(nodes, {"s": np.array([1 << 32], np.int64)}, x=None)
        with pytest.raises(RuntimeFailure) as caught:
            verify(built, built, memory_limit=1 << 28)
        assert "\n" not in str(caught.value)

    def test_a_run_without_end(self) -> None:
        body = helper.make_graph(
            [
                helper.make_node("Identity", ["go_in"], ["go"]),
                helper.make_node("Sin", ["v_in"], ["v"]),
            ],
            "body",
            [
                helper.make_tensor_value_info("i", TensorProto.INT64, []),
                helper.make_tensor_value_info("go_in", TensorProto.BOOL, []),
                helper.make_tensor_value_info("v_in", FLOAT, None),
            ],
            [
                helper.make_tensor_value_info("go", TensorProto.BOOL, []),
                helper.make_tensor_value_info("v", FLOAT, None),
            ],
        )
        loop = helper.make_node("Loop", ["m", "go0", "x"], ["y"], body=body)
        built = model([loop], {"m": np.array(1 << 60, np.int64), "go0": np.array(True)})
        with pytest.raises(
            RuntimeFailure,
            match=r"ran out of its 1\.5 s while it ran the original model: .*--shape x:",
        ):
            verify(built, built, timeout=1.5)

    @pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory limits: Linux only")
    def test_a_process_that_dies(self) -> None:
        """Without memory for a feed the worker can't even answer."""
        built = model([helper.make_node("Relu", ["x"], ["y"])], x=(1 << 26,))
        with pytest.raises(RuntimeFailure) as caught:
            verify(built, built, memory_limit=1 << 20)
        assert "\n" not in str(caught.value)
