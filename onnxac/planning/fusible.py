"""Several operators that runtimes run as one: a fold into one of them would cost that.

The 0.5 of an erf-Gelu goes into the next weight for nothing, it seems; then no runtime knows the
Gelu any more, and five operators run where one did. So what belongs to such a pattern is left as
it is. None of the patterns here is linear as a whole.

Activations are known by what they compute at sample points, however they are spelled;
normalizations and scaled products by their structure. Time is linear in the size of the graph:
each pattern ends at a node of its own, and from there a bounded number of nodes is looked at.

Seen by running each runtime's own optimizer on each spelling (tests/test_fusible.py does that
with onnxruntime). Patterns in which no operator is linear (x·Sigmoid(x), Mish, Softmax of a
difference) need no entry: what is not linear is never changed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_graphsurgeon as gs

from onnxac.inference.facts import Facts

Samples = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Fusible:
    """A pattern, and where it was seen to run as one operator: runtime and version."""

    name: str
    seen: str

    @property
    def reason(self) -> str:
        """Why a part of it stays."""
        return f"it is part of a {self.name}, which {self.seen} runs as one operator"


_ORT, _OPENVINO = "onnxruntime 1.32.0", "OpenVINO 2026.4.1"
GELU = Fusible("Gelu", _ORT)
TANH_GELU = Fusible("Gelu by tanh", _OPENVINO)
SWISH = Fusible("Swish", _ORT)
HARD_SWISH = Fusible("HardSwish", _OPENVINO)
LAYER_NORM = Fusible("LayerNormalization", _ORT)
RMS_NORM = Fusible("RMSNormalization", _ORT)
SCALED_PRODUCT = Fusible("MatMul with its scale", _ORT)

POINTS = np.array([-6.0, -3.5, -2.0, -1.0, -0.5, -0.1, 0.2, 0.7, 1.5, 2.5, 5.0])
# How far exporters round √2, √(2/π) and 1/6.
_TOLERANCE = 1e-3

_erf = np.vectorize(math.erf)
_ROOT = math.sqrt(2 / math.pi)
ACTIVATIONS: dict[Fusible, Callable[[Samples], Samples]] = {
    GELU: lambda x: x * (1 + _erf(x / math.sqrt(2))) / 2,
    TANH_GELU: lambda x: x * (1 + np.tanh(_ROOT * (x + 0.044715 * x**3))) / 2,
    HARD_SWISH: lambda x: x * np.clip(x + 3, 0, 6) / 6,
}
_ELEMENTWISE: dict[str, Callable[..., Samples]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
    "Pow": np.power,
    "Erf": _erf,
    "Tanh": np.tanh,
    "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "Clip": lambda x, low=-np.inf, high=np.inf: np.clip(x, low, high),
    "Relu": lambda x: np.maximum(x, 0),
    "Min": np.minimum,
    "Max": np.maximum,
}
# The longest spelling that was seen has nine nodes.
_MOST_NODES = 12
_STATISTIC = {"Add", "Cast", "Div", "Mul", "Pow", "ReduceMean", "Reciprocal", "Sqrt"}


def whole(nodes: Sequence[gs.Node], facts: Facts) -> dict[str, str]:
    """Tensors that belong to a pattern which some runtime runs as one operator, and why.

    They are to be left as they are: neither defined anew nor substituted into their readers.

    nodes  of the graph, in order
    """
    look = _Look(nodes, facts)
    found: dict[str, str] = {}
    for node in nodes:
        for fusible, tensors in _ending_at(node, look):
            for tensor in tensors:
                found.setdefault(tensor, fusible.reason)
    return found


Match = tuple[Fusible, Iterable[str]]


def _ending_at(node: gs.Node, look: _Look) -> Iterator[Match]:
    if node.op == "Mul":
        yield from _activation(node, look)
    if node.op in ("Mul", "Div"):
        yield from _normalization(node, look)
    if node.op == "Softmax":
        yield from _scaled_product(node, look)


class _Look:
    """The graph, as far as patterns ask for it."""

    def __init__(self, nodes: Sequence[gs.Node], facts: Facts) -> None:
        self.facts = facts
        self._makers = {t.name: n for n in nodes for t in n.outputs if t.name}
        self._readers: dict[str, list[gs.Node]] = {}
        for node in nodes:
            for tensor in node.inputs:
                self._readers.setdefault(tensor.name, []).append(node)

    def maker(self, name: str) -> gs.Node | None:
        """The standard node that makes an activation."""
        node = None if self.facts.is_constant(name) else self._makers.get(name)
        node = node if node is not None and all(t.name for t in node.inputs) else None
        return node if node is not None and self.facts.is_standard(node.domain, node.op) else None

    def reader(self, name: str) -> gs.Node | None:
        """The only reader of a tensor."""
        readers = self._readers.get(name, [])
        return readers[0] if len(readers) == 1 else None

    def number(self, name: str) -> float | None:
        """The value of a constant with one element."""
        if not self.facts.is_constant(name) or self.facts.count(name) != 1:
            return None
        value = self.facts.value(name)
        return None if value is None else float(value.reshape(()))

    def activations(self, node: gs.Node) -> list[str]:
        """What the node reads that is no constant."""
        return [t.name for t in node.inputs if t.name and not self.facts.is_constant(t.name)]

    def followed_by(self, name: str, ops: Sequence[str]) -> str | None:
        """What the only reader makes of a tensor and a constant, if it is one of these."""
        reader = self.reader(name)
        if reader is None or reader.op not in ops or self.activations(reader) != [name]:
            return None
        made: str = reader.outputs[0].name
        return made


# Activations.


def _activation(node: gs.Node, look: _Look) -> Iterator[Match]:
    """x · g(x), or a multiple of it: a function of one tensor, by scalars only."""
    operands = [t.name for t in node.inputs]
    if len(look.activations(node)) < 2:
        return
    product = node.outputs[0].name
    ends = [product, look.followed_by(product, ("Mul", "Div"))]
    for end in [e for e in ends if e]:
        for source in dict.fromkeys(s for name in operands for s in (name, _unscaled(name, look))):
            samples = {source: POINTS}
            values = _sampled(end, samples, look)
            fusible = None if values is None else _known(values)
            if fusible is not None:
                yield fusible, [t for t in samples if t != source and look.number(t) is None]
                return


def _unscaled(name: str, look: _Look) -> str:
    """What a tensor is a multiple of."""
    maker = look.maker(name)
    if maker is None or maker.op not in ("Mul", "Div") or len(look.activations(maker)) != 1:
        return name
    return look.activations(maker)[0]


def _sampled(name: str, samples: dict[str, Samples], look: _Look) -> Samples | None:
    """Values of a tensor that depends on those in `samples` only; what is between is added."""
    stack = [name]
    while stack:
        top = stack[-1]
        if top in samples:
            stack.pop()
            continue
        number = look.number(top)
        if number is not None:
            samples[top] = np.full_like(POINTS, number)
            continue
        maker = look.maker(top)
        if maker is None or maker.op not in _ELEMENTWISE or len(samples) > 2 * _MOST_NODES:
            return None
        inputs = [t.name for t in maker.inputs]
        missing = [i for i in inputs if i and i not in samples]
        if not all(inputs) or len(inputs) > 3 or len(stack) > _MOST_NODES:
            return None
        if missing:
            stack.append(missing[0])
            continue
        with np.errstate(all="ignore"):
            samples[top] = _run(maker, [samples[i] for i in inputs])
    return samples[name]


def _run(node: gs.Node, values: Sequence[Samples]) -> Samples:
    if node.op == "Clip" and len(values) == 1:
        bounds = [node.attrs.get("min", -np.inf), node.attrs.get("max", np.inf)]
        return np.asarray(np.clip(values[0], *bounds))
    return np.asarray(_ELEMENTWISE[node.op](*values), np.float64)


def _known(values: Samples) -> Fusible | None:
    """The activation that takes these values at the sample points."""
    for fusible, function in ACTIVATIONS.items():
        if np.allclose(values, function(POINTS), rtol=_TOLERANCE, atol=_TOLERANCE / 10):
            return fusible
    # Swish is x·Sigmoid(βx) for any β: it is read off at one point.
    with np.errstate(all="ignore"):
        gate = values / POINTS
        slope = np.log(gate / (1 - gate)) / POINTS
    middle = slope[len(slope) // 2]
    if not np.isfinite(middle) or middle <= 0:
        return None
    wanted = POINTS / (1 + np.exp(-middle * POINTS))
    return SWISH if np.allclose(values, wanted, rtol=_TOLERANCE, atol=_TOLERANCE / 10) else None


# Normalizations.


def _normalization(node: gs.Node, look: _Look) -> Iterator[Match]:
    """d / √(mean(d²) + ε) · γ + β over the last axes, d being x − mean(x), or x itself."""
    operands = [t.name for t in node.inputs]
    if len(look.activations(node)) < 2:
        return
    for data, other in (operands, operands[::-1]):
        inner = _statistic(other, data, look)
        if inner is None:
            continue
        tensors = [*inner, node.outputs[0].name]
        scaled = look.followed_by(tensors[-1], ("Mul",))
        if scaled is None:
            return
        centred = _centred(data, look)
        if centred is None:
            yield RMS_NORM, [*tensors, scaled]
            return
        shifted = look.followed_by(scaled, ("Add",))
        squares = [m for t in inner if (m := look.maker(t)) is not None and m.op == "Pow"]
        # onnxruntime takes the square for one only where it is a Pow.
        if shifted is not None and squares:
            yield LAYER_NORM, [*tensors, *centred, scaled, shifted]
        return


def _statistic(name: str, data: str, look: _Look) -> list[str] | None:
    """The tensors between `data` and one that is computed from its means over the last axes."""
    inner: dict[str, None] = {}
    waiting, reduced = [name], False
    while waiting:
        top = waiting.pop()
        if top == data or top in inner or look.facts.is_constant(top):
            continue
        maker = look.maker(top)
        if maker is None or maker.op not in _STATISTIC or len(inner) >= _MOST_NODES:
            return None
        if maker.op == "ReduceMean":
            reduced = _reduces_last(maker, look)
            if not reduced:
                return None
        inner[top] = None
        waiting += [t.name for t in maker.inputs if t.name]
    return list(reversed(inner)) if reduced else None


def _centred(data: str, look: _Look) -> list[str] | None:
    """The tensor and the mean, where it is what it is made of less its mean."""
    maker = look.maker(data)
    if maker is None or maker.op != "Sub":
        return None
    source, mean = (t.name for t in maker.inputs)
    reduce = look.maker(mean)
    if reduce is None or reduce.op != "ReduceMean" or reduce.inputs[0].name != source:
        return None
    return [mean, data]


def _reduces_last(node: gs.Node, look: _Look) -> bool:
    """Whether the node reduces the last axis, and none but those next to it."""
    shape = look.facts.shape(node.inputs[0].name)
    axes = node.attrs.get("axes")
    if len(node.inputs) > 1:
        value = look.facts.value(node.inputs[1].name)
        axes = None if value is None else value.reshape(-1)
    if axes is None:
        return False
    if shape is None:
        return [int(a) for a in axes] == [-1]
    rank = len(shape)
    return sorted(int(a) % rank for a in axes) == [*range(rank - len(axes), rank)]


# Attention.


def _scaled_product(node: gs.Node, look: _Look) -> Iterator[Match]:
    """Softmax(q·k / √d), with a mask or without."""
    end = node.inputs[0].name
    maker = look.maker(end)
    masked = maker is not None and maker.op == "Add"
    for name in look.activations(maker) if maker is not None and masked else [end]:
        product = look.maker(_unscaled(name, look))
        if (
            product is not None
            and product.op == "MatMul"
            and product.outputs[0].name != name
            and len(look.activations(product)) == 2
        ):
            yield SCALED_PRODUCT, dict.fromkeys((name, end))
