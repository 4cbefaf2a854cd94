"""What a runtime runs as one operator still is one afterwards: its own optimizer is asked."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from exact import run
from onnx import ModelProto, TensorProto, helper, numpy_helper

from onnxac.graph.model import from_proto
from onnxac.inference.facts import Facts
from onnxac.pipeline import Options, optimize
from onnxac.planning import fusible
from onnxac.report import Report

WIDTH, HEADS = 32, 4
# Operators that onnxruntime makes of several. Not FusedMatMul: it also takes in scales that are
# gone once they are in a weight, and at times the 0.5 of a Gelu.
MADE = (
    "BiasGelu",
    "Gelu",
    "LayerNormalization",
    "QuickGelu",
    "SimplifiedLayerNormalization",
    "SkipLayerNormalization",
)


class Text:
    """A graph over x, [2, 16, WIDTH], written as one writes it down."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}
        self._random = np.random.default_rng(3)

    def __call__(self, op: str, *inputs: Any, **attrs: Any) -> str:
        names = [i if isinstance(i, str) else self.constant(i) for i in inputs]
        output = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, names, [output], name=f"n{output}", **attrs))
        return output

    def constant(self, value: Any) -> str:
        name = f"c{len(self.constants)}"
        array = np.asarray(value)
        self.constants[name] = array.astype(np.float32) if array.dtype.kind == "f" else array
        return name

    def weight(self, *shape: int) -> Any:
        return self._random.standard_normal(shape) / math.sqrt(shape[0])

    def linear(self, x: str) -> str:
        return self("Add", self("MatMul", x, self.weight(WIDTH, WIDTH)), self.weight(WIDTH))

    def model(self, output: str) -> ModelProto:
        dims = [2, 16, WIDTH]
        graph = helper.make_graph(
            self.nodes,
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, dims)],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["a", "b", "c"])],
            [numpy_helper.from_array(v, k) for k, v in self.constants.items()],
        )
        opsets = [helper.make_opsetid("", 17)]
        made = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        onnx.checker.check_model(made)
        return made


Spelling = Callable[[Text, str], str]


def gelu_div(t: Text, x: str) -> str:
    e = t("Add", t("Erf", t("Div", x, math.sqrt(2))), 1.0)
    return t("Mul", t("Mul", x, e), 0.5)


def gelu_half_first(t: Text, x: str) -> str:
    e = t("Add", t("Erf", t("Div", x, 1.4142135)), 1.0)
    return t("Mul", t("Mul", x, 0.5), e)


def gelu_mul(t: Text, x: str) -> str:
    e = t("Add", t("Erf", t("Mul", x, math.sqrt(0.5))), 1.0)
    return t("Mul", t("Mul", e, x), 0.5)


def gelu_half_inside(t: Text, x: str) -> str:
    e = t("Add", t("Erf", t("Div", x, math.sqrt(2))), 1.0)
    return t("Mul", x, t("Mul", e, 0.5))


def gelu_tanh_pow(t: Text, x: str) -> str:
    inner = t("Mul", t("Add", x, t("Mul", t("Pow", x, 3.0), 0.044715)), math.sqrt(2 / math.pi))
    return t("Mul", t("Mul", x, 0.5), t("Add", t("Tanh", inner), 1.0))


def gelu_tanh_factored(t: Text, x: str) -> str:
    u = t("Mul", x, 0.79788456)
    v = t("Add", t("Mul", t("Mul", x, 0.044715), x), 1.0)
    return t("Mul", t("Mul", x, 0.5), t("Add", t("Tanh", t("Mul", u, v)), 1.0))


def quick_gelu(t: Text, x: str) -> str:
    return t("Mul", x, t("Sigmoid", t("Mul", x, 1.702)))


def hard_swish_div(t: Text, x: str) -> str:
    return t("Div", t("Mul", x, t("Clip", t("Add", x, 3.0), 0.0, 6.0)), 6.0)


def hard_swish_mul(t: Text, x: str) -> str:
    return t("Mul", x, t("Mul", t("Clip", t("Add", x, 3.0), 0.0, 6.0), 1 / 6))


def layer_norm(t: Text, x: str) -> str:
    d = t("Sub", x, t("ReduceMean", x, axes=[-1]))
    deviation = t("Sqrt", t("Add", t("ReduceMean", t("Pow", d, 2.0), axes=[-1]), 1e-5))
    return t("Add", t("Mul", t("Div", d, deviation), t.weight(WIDTH)), t.weight(WIDTH))


def rms_norm(t: Text, x: str) -> str:
    root = t("Sqrt", t("Add", t("ReduceMean", t("Pow", x, 2.0), axes=[-1]), 1e-5))
    return t("Mul", t("Div", x, root), t.weight(WIDTH))


def rms_norm_reciprocal(t: Text, x: str) -> str:
    root = t("Sqrt", t("Add", t("ReduceMean", t("Mul", x, x), axes=[-1]), 1e-5))
    return t("Mul", t("Mul", x, t("Reciprocal", root)), t.weight(WIDTH))


def attention(t: Text, x: str) -> str:
    def head(perm: Sequence[int]) -> str:
        shape = np.array([0, 0, HEADS, WIDTH // HEADS])
        return t("Transpose", t("Reshape", t.linear(x), shape), perm=perm)

    scores = t("Div", t("MatMul", head([0, 2, 1, 3]), head([0, 2, 3, 1])), math.sqrt(8))
    weights = t("Softmax", t("Add", scores, t.weight(2, 1, 16, 16)), axis=-1)
    mixed = t("Transpose", t("MatMul", weights, head([0, 2, 1, 3])), perm=[0, 2, 1, 3])
    return t("Reshape", mixed, np.array([0, 0, WIDTH]))


# Spelling → what it is, the operator that onnxruntime makes of it (if it does), and how many of
# the nodes belong to it.
SPELLINGS: dict[Spelling, tuple[fusible.Fusible, str | None, int]] = {
    gelu_div: (fusible.GELU, "Gelu", 5),
    gelu_half_first: (fusible.GELU, "Gelu", 5),
    gelu_mul: (fusible.GELU, None, 5),
    gelu_half_inside: (fusible.GELU, None, 5),
    gelu_tanh_pow: (fusible.TANH_GELU, None, 8),
    gelu_tanh_factored: (fusible.TANH_GELU, None, 9),
    quick_gelu: (fusible.SWISH, "QuickGelu", 3),
    hard_swish_div: (fusible.HARD_SWISH, None, 4),
    hard_swish_mul: (fusible.HARD_SWISH, None, 4),
    layer_norm: (fusible.LAYER_NORM, "LayerNormalization", 9),
    rms_norm: (fusible.RMS_NORM, "SimplifiedLayerNormalization", 6),
    rms_norm_reciprocal: (fusible.RMS_NORM, None, 7),
    attention: (fusible.SCALED_PRODUCT, "FusedMatMul", 2),
}
IDS = [s.__name__ for s in SPELLINGS]


def executed(model: ModelProto, folder: Path) -> Counter[str]:
    """Operators that onnxruntime runs, after its own optimizer."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(folder / "executed.onnx")
    onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return Counter(n.op_type for n in onnx.load(options.optimized_model_filepath).graph.node)


def optimized(before: ModelProto) -> tuple[ModelProto, Report]:
    after, report = optimize(before, Options(verify=False))
    x = np.random.default_rng(0).standard_normal((2, 16, WIDTH)).astype(np.float32)
    (have,), (want,) = run(after, {"x": x}), run(before, {"x": x})
    assert np.allclose(have, want, rtol=1e-4, atol=1e-4)
    return after, report


def never_fewer(before: ModelProto, after: ModelProto, folder: Path) -> Counter[str]:
    """Of what onnxruntime makes of the original it makes as many of the result."""
    old, new = executed(before, folder), executed(after, folder)
    assert all(new[op] >= old[op] for op in MADE), (old, new)
    assert new.total() <= old.total()
    return new


@pytest.mark.parametrize("spelling", SPELLINGS, ids=IDS)
def test_a_pattern_between_two_weights_stays(spelling: Spelling, tmp_path: Path) -> None:
    """Scales on both sides, and weights that could take them in."""
    t = Text()
    x = t("Mul", t("MatMul", "x", t.weight(WIDTH, WIDTH)), t.weight(WIDTH))
    before = t.model(t("MatMul", spelling(t, x), t.weight(WIDTH, WIDTH)))
    after, _ = optimized(before)
    new = never_fewer(before, after, tmp_path)
    _, made, _ = SPELLINGS[spelling]
    if made is not None:
        assert new[made] == 1
    # The scale in front goes into the weight before it, as ever.
    assert len(after.graph.node) < len(before.graph.node)


@pytest.mark.parametrize(
    "spelling",
    [gelu_div, gelu_mul, hard_swish_div, layer_norm, rms_norm, rms_norm_reciprocal],
    ids=lambda f: f.__name__,
)
def test_the_reason_is_told_where_a_weight_would_have_taken_it_in(spelling: Spelling) -> None:
    t = Text()
    _, report = optimized(t.model(t("MatMul", spelling(t, "x"), t.weight(WIDTH, WIDTH))))
    told = [r for r in report.refusals if r.rule == "fused"]
    assert [r.reason for r in told] == [SPELLINGS[spelling][0].reason]
    assert told[0].node.name == t.nodes[-2].name


@pytest.mark.parametrize("spelling", SPELLINGS, ids=IDS)
def test_what_belongs_to_a_pattern(spelling: Spelling) -> None:
    t = Text()
    model = from_proto(t.model(t("Relu", spelling(t, t("Abs", "x")))))
    kind, _, count = SPELLINGS[spelling]
    found = fusible.whole(model.graph.nodes, Facts(model))
    assert set(found.values()) == {kind.reason}
    assert len(found) == count
    assert set(found) <= {o for n in t.nodes for o in n.output}


def layer(t: Text, x: str) -> str:
    """One layer of a transformer's encoder, exported from before LayerNormalization."""
    x = layer_norm(t, t("Add", t.linear(attention(t, x)), x))
    return layer_norm(t, t("Add", t.linear(gelu_div(t, t.linear(x))), x))


def test_an_encoder(tmp_path: Path) -> None:
    t = Text()
    before = t.model(t("MatMul", layer(t, layer(t, "x")), t.weight(WIDTH, WIDTH)))
    after, _ = optimized(before)
    new = never_fewer(before, after, tmp_path)
    assert (new["Gelu"], new["SkipLayerNormalization"], new["FusedMatMul"]) == (2, 4, 2)


def test_convolutions_between_activations(tmp_path: Path) -> None:
    """As in text recognition: each Conv's BN goes into it, each Gelu stays one."""
    t = Text()
    x = t("Reshape", "x", np.array([2, 16, 8, 4]))
    for _ in range(3):
        x = t("Conv", x, t.weight(16, 16, 1, 1), t.weight(16))
        x = t("BatchNormalization", x, *(np.abs(t.weight(16)) + 0.5 for _ in range(4)))
        x = gelu_div(t, x)
    x = t("Conv", x, t.weight(16, 16, 1, 1))
    before = t.model(t("Reshape", x, np.array([2, 16, 32])))
    after, _ = optimized(before)
    assert never_fewer(before, after, tmp_path)["Gelu"] == 3
    assert len(after.graph.node) == len(before.graph.node) - 3


def scaled_relu(t: Text, x: str) -> str:
    return t("Mul", t("Relu", x), 0.5)


def gelu_twice(t: Text, x: str) -> str:
    return t("Mul", gelu_div(t, x), 2.0)


def nearly_gelu(t: Text, x: str) -> str:
    e = t("Add", t("Erf", t("Div", x, 1.5)), 1.0)
    return t("Mul", t("Mul", x, e), 0.5)


def centred_over_channels(t: Text, x: str) -> str:
    """Normalized over an axis that is not the last: no runtime takes the scale in."""
    d = t("Sub", x, t("ReduceMean", x, axes=[1]))
    deviation = t("Sqrt", t("Add", t("ReduceMean", t("Pow", d, 2.0), axes=[1]), 1e-5))
    return t("Mul", t("Div", d, deviation), t.weight(WIDTH))


@pytest.mark.parametrize(
    "spelling",
    [scaled_relu, gelu_twice, nearly_gelu, centred_over_channels],
    ids=lambda f: f.__name__,
)
def test_what_is_no_pattern_is_folded(spelling: Spelling) -> None:
    t = Text()
    before = t.model(t("MatMul", spelling(t, t("Abs", "x")), t.weight(WIDTH, WIDTH)))
    after, _ = optimized(before)
    assert len(after.graph.node) < len(before.graph.node)


def test_every_entry_says_where_it_was_seen() -> None:
    entries = {e for e in vars(fusible).values() if isinstance(e, fusible.Fusible)}
    assert entries == {kind for kind, _, _ in SPELLINGS.values()}
    for entry in entries:
        assert entry.seen.split()[0] in ("onnxruntime", "OpenVINO")
        assert entry.seen in entry.reason


def test_time_is_linear() -> None:
    import time

    def seconds(count: int) -> float:
        t = Text()
        x = "x"
        for _ in range(count):
            x = gelu_div(t, t("Mul", x, x))
        model = from_proto(t.model(x))
        facts = Facts(model)
        start = time.process_time()
        assert len(fusible.whole(model.graph.nodes, facts)) == 5 * count
        return time.process_time() - start

    seconds(20)
    assert seconds(400) < 8 * max(seconds(100), 0.005)
