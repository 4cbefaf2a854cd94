"""What two graphs share, read off their protobufs: nothing is run.

A node is *the same* in both graphs when operator, attributes, and the names of its inputs
and outputs are equal. A tensor is *equal by construction* when the node that makes it is the
same, and what that node reads is equal: an input of the model, an initializer of the same
bytes, or equal by construction itself. Two models whose outputs are all of that kind differ
only in what nothing reads, and need not be run.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

import onnx
from onnx import numpy_helper

CHUNK = 1 << 20
# Pairs of tensors that are followed back from the outputs, at most.
MOST_ALIGNED = 256

# Operators that give the same for inputs that differ, and how many of their operands that is of.
HIDES = {
    "ArgMax": 1, "ArgMin": 1, "TopK": 1, "Hardmax": 1, "NonMaxSuppression": 2, "NonZero": 1,
    "Unique": 1, "Sigmoid": 1, "HardSigmoid": 1, "Softmax": 1, "LogSoftmax": 1, "Tanh": 1,
    "Erf": 1, "Clip": 1, "Relu": 1, "Round": 1, "Floor": 1, "Ceil": 1, "Sign": 1, "Cast": 1,
    "Greater": 2, "GreaterOrEqual": 2, "Less": 2, "LessOrEqual": 2, "Equal": 2, "Max": 2, "Min": 2,
    "ReduceMax": 1, "ReduceMin": 1, "MaxPool": 1, "GlobalMaxPool": 1,
}  # fmt: skip
Reader = tuple[str, str, int, tuple[str, ...]]


class Side:
    """One of the two models, indexed by the names of its tensors.

    model   the protobuf; external data need not be loaded
    folder  where external data lies
    """

    def __init__(self, model: onnx.ModelProto, folder: Path) -> None:
        self.model = model
        self.folder = folder
        graph = model.graph
        # ONNX Runtime uses the last of initializers that share a name.
        self.initializers = {t.name: t for t in graph.initializer}
        self.nodes: list[onnx.NodeProto] = []
        for node in graph.node:
            # A Constant is a weight in another place.
            value = node.attribute[0] if node.op_type == "Constant" and not node.domain else None
            if value is not None and value.name == "value":
                self.initializers[node.output[0]] = value.t
            else:
                self.nodes.append(node)
        self.producers = {name: n for n in self.nodes for name in n.output if name}
        self.inputs = {v.name for v in graph.input} - {t.name for t in graph.initializer}
        self.outputs = [v.name for v in graph.output]
        self.readers = _readers(graph)


def _readers(graph: onnx.GraphProto) -> dict[str, list[Reader]]:
    readers: dict[str, list[Reader]] = defaultdict(list)
    for node in graph.node:
        if node.op_type in ("Shape", "Size") and not node.domain:
            # Whoever reads the shape alone says nothing of the values.
            continue
        outputs = tuple(node.output)
        for index, name in enumerate(node.input):
            readers[name].append((node.domain, node.op_type, index, outputs))
        for name in captured(node):
            readers[name].append((node.domain, node.op_type, -1, outputs))
    return {name: sorted(found) for name, found in readers.items()}


def captured(node: onnx.NodeProto) -> list[str]:
    """Names that the subgraphs of a node use: those of the outer graph are among them."""
    names: set[str] = set()
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            names.update(v.name for v in graph.output)
            for inner in graph.node:
                names.update(inner.input)
                names.update(captured(inner))
    return sorted(names)


class Likeness:
    """Which tensors of model `b` are equal to those of the same name in model `a`."""

    def __init__(self, a: Side, b: Side) -> None:
        self.a, self.b = a, b
        self._equal_weights: dict[str, bool] = {}
        # An operator means what its opset, or a function of the model, says.
        self._comparable = _opsets(a.model) == _opsets(b.model) and [
            f.SerializeToString(deterministic=True) for f in a.model.functions
        ] == [f.SerializeToString(deterministic=True) for f in b.model.functions]

    def equal(self, compared: Collection[str] = ()) -> set[str]:
        """Names that are equal by construction, given that those of `compared` are."""
        known = (self.a.inputs & self.b.inputs) | set(compared)
        if not self._comparable:
            return known
        for node in self.b.nodes:
            if self._is_same(node) and all(
                name in known or self._weight_is_equal(name) for name in self._read(node)
            ):
                known.update(node.output)
        known.update(n for n in self.b.outputs if n not in known and self._weight_is_equal(n))
        return known

    def inner(self) -> list[str]:
        """Tensors inside both graphs that another node makes now, and the same nodes read.

        An optimizer keeps the names of what it merges into: these tensors must be equal, and
        what the outputs hide is seen in them. In the order of `b`.
        """
        names = []
        outputs = {*self.a.outputs, *self.b.outputs}
        for node in self.b.nodes:
            made = [n for n in node.output if n in self.a.producers and n not in outputs]
            if not made or (self._is_same(node) and self._reads_equal_weights(node)):
                continue
            names += [n for n in made if self._is_read_alike(n)]
        return names

    def aligned(self, outputs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        """What the last operators before the outputs read, where they are the same operators.

        From a pair of outputs back, as long as both models have the same operator there. Where
        that operator hides differences (which is the largest, a saturated sigmoid), what it reads
        has to be equal as well. Names don't matter. Where both have other weights, nothing is said
        of what these are applied to: a factor may have been moved from the weights before.
        """
        found: list[tuple[str, str]] = []
        waiting, seen = list(outputs), set(outputs)
        while waiting and len(seen) < MOST_ALIGNED:
            pair = waiting.pop(0)
            first, second = self.a.producers.get(pair[0]), self.b.producers.get(pair[1])
            if first is None or second is None or not _is_alike(first, second):
                continue
            if second.op_type not in HIDES and not self._weigh_alike(first, second):
                continue
            for index, read in enumerate(zip(first.input, second.input, strict=True)):
                inside = read[0] in self.a.producers and read[1] in self.b.producers
                if not inside or read in seen:
                    continue
                seen.add(read)
                waiting.append(read)
                if second.op_type in HIDES and index < HIDES[second.op_type]:
                    found.append(read)
        return found

    def _weigh_alike(self, first: onnx.NodeProto, second: onnx.NodeProto) -> bool:
        """Whether two nodes of one operator have equal weights, whatever these are called."""
        for a, b in zip(first.input, second.input, strict=True):
            one, other = self.a.initializers.get(a), self.b.initializers.get(b)
            if one is not None and other is not None:
                if not is_equal(one, self.a.folder, other, self.b.folder):
                    return False
            elif one is not other:
                return False
        return True

    def probes(self, deciding: Collection[str]) -> list[tuple[str, str]]:
        """Tensors inside to look at when something differs: namesakes, and what decisions read.

        deciding  operator types; those of one name are paired by what they give
        """
        pairs: dict[str, str] = {}
        for node in self.b.nodes:
            made = [n for n in node.output if n in self.a.producers]
            pairs.update((n, n) for n in made)
            other = self.a.producers[made[0]] if made else None
            if other is not None and node.op_type in deciding and _is_alike(other, node):
                pairs.update(
                    (b, a)
                    for a, b in zip(other.input, node.input, strict=True)
                    if a in self.a.producers and b in self.b.producers
                )
        return [(a, b) for b, a in pairs.items()]

    def behind(self, named: Mapping[str, str]) -> dict[str, str]:
        """Every tensor of `b` that hangs on one of `named`, with what that one is named for."""
        found = dict(named)
        for node in self.b.nodes:
            read = next((found[n] for n in self._read(node) if n in found), None)
            if read is not None:
                found.update((n, read) for n in node.output if n not in found)
        return found

    def _is_read_alike(self, name: str) -> bool:
        readers = self.b.readers.get(name)
        return readers is not None and readers == self.a.readers.get(name)

    def _is_same(self, node: onnx.NodeProto) -> bool:
        other = next((self.a.producers.get(n) for n in node.output if n), None)
        return (
            other is not None
            and list(node.input) == list(other.input)
            and list(node.output) == list(other.output)
            and _is_alike(node, other)
        )

    def _read(self, node: onnx.NodeProto) -> Iterator[str]:
        """What a node reads of the outer graph, by its inputs and from inside its subgraphs."""
        yield from filter(None, node.input)
        for name in captured(node):
            if name in self.b.producers or name in self.b.initializers or name in self.b.inputs:
                yield name

    def _reads_equal_weights(self, node: onnx.NodeProto) -> bool:
        return all(self._weight_is_equal(n) for n in self._read(node) if n in self.b.initializers)

    def _weight_is_equal(self, name: str) -> bool:
        if name not in self._equal_weights:
            first, second = (side.initializers.get(name) for side in (self.a, self.b))
            self._equal_weights[name] = (
                first is not None
                and second is not None
                and is_equal(first, self.a.folder, second, self.b.folder)
            )
        return self._equal_weights[name]


def dependent(side: Side) -> set[str]:
    """The tensors that hang on an input of the model."""
    found = set(side.inputs)
    for node in side.nodes:
        if any(n in found for n in (*node.input, *captured(node))):
            found.update(node.output)
    return found


def _is_alike(first: onnx.NodeProto, second: onnx.NodeProto) -> bool:
    """Whether two nodes are the same operator with the same attributes and as many operands."""
    return (
        (first.op_type, first.domain) == (second.op_type, second.domain)
        and first.overload == second.overload
        and len(first.input) == len(second.input)
        and len(first.output) == len(second.output)
        and _attributes(first) == _attributes(second)
    )


def _opsets(model: onnx.ModelProto) -> dict[str, int]:
    return {"" if o.domain == "ai.onnx" else o.domain: o.version for o in model.opset_import}


def _attributes(node: onnx.NodeProto) -> list[bytes]:
    # Doc strings of attributes say nothing of what is computed, and are rare: they count.
    return sorted(a.SerializeToString(deterministic=True) for a in node.attribute)


def is_equal(first: onnx.TensorProto, folder: Path, second: onnx.TensorProto, other: Path) -> bool:
    """Whether two tensors are of one type and shape, and equal to the bit.

    folder, other  where the external data of the first and of the second lies; data that can't
                   be read is not equal: whoever loads it will say why
    """
    with contextlib.suppress(OSError, ValueError):
        return _is_equal(first, folder, second, other)
    return False


def _is_equal(first: onnx.TensorProto, folder: Path, second: onnx.TensorProto, other: Path) -> bool:
    if first.data_type != second.data_type or list(first.dims) != list(second.dims):
        return False
    # Of each kind of storage the common case is compared without a copy.
    if first.raw_data and second.raw_data:
        return bool(first.raw_data == second.raw_data)
    external = [t.data_location == onnx.TensorProto.EXTERNAL for t in (first, second)]
    if all(external):
        return _files_equal(_place(first, folder), _place(second, other))
    if any(external):
        arrays = (numpy_helper.to_array(t, str(f)) for t, f in ((first, folder), (second, other)))
        one, two = arrays
        return one.tobytes() == two.tobytes()
    one, two = numpy_helper.to_array(first), numpy_helper.to_array(second)
    if one.dtype == object:
        return bool((one == two).all())
    return one.tobytes() == two.tobytes()


def _place(tensor: onnx.TensorProto, folder: Path) -> tuple[Path, int, int]:
    """File, offset and length in bytes (-1: to its end) of external data."""
    entries = {e.key: e.value for e in tensor.external_data}
    path = folder / entries["location"]
    return path, int(entries.get("offset", 0)), int(entries.get("length", -1))


def _files_equal(first: tuple[Path, int, int], second: tuple[Path, int, int]) -> bool:
    if first[2] != second[2]:
        return False
    if first[0].resolve() == second[0].resolve() and first[1] == second[1]:
        return True
    with first[0].open("rb") as one, second[0].open("rb") as two:
        one.seek(first[1])
        two.seek(second[1])
        left = first[2]
        for _ in itertools.count():
            size = CHUNK if left < 0 else min(CHUNK, left)
            chunk = one.read(size)
            if chunk != two.read(size):
                return False
            left -= len(chunk) if left >= 0 else 0
            if not chunk or left == 0:
                return True
    return True
