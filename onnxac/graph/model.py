"""A model as a graphsurgeon graph, and back as a protobuf.

graphsurgeon gets the topology only. Weights, types, subgraphs and every field that it does
not keep stay in the original protobuf: a node that nobody touched comes out byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_graphsurgeon as gs
from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto
from onnx_graphsurgeon.exporters.onnx_exporter import OnnxExporter

from onnxac.algebra import Lazy
from onnxac.graph.operators import PLAIN

# Puts the values of a tensor of this name somewhere, and says where.
Store = Callable[[str, npt.NDArray[np.generic]], TensorProto]

# Bytes from which on that is worth it.
_STORED_FROM = 1024

_READ: Mapping[int, Callable[[AttributeProto], Any]] = {
    AttributeProto.FLOAT: lambda a: a.f,
    AttributeProto.INT: lambda a: a.i,
    AttributeProto.STRING: lambda a: a.s.decode(),
    AttributeProto.FLOATS: lambda a: list(a.floats),
    AttributeProto.INTS: lambda a: list(a.ints),
}


@dataclass
class Model:
    """A model, and its graph as graphsurgeon sees it.

    proto      the model as it was read; never changed
    folder     where its external data lies; None for a model from memory
    graph      nodes and tensors; tensors have names only
    functions  the model's own functions, as they are now
    reserved   names that other graphs of the file have, for all of them the same set
    exact      weights that were rounded when they were written, as they are; likewise
    """

    proto: ModelProto
    folder: Path | None
    graph: gs.Graph
    functions: list[FunctionProto] = field(default_factory=list)
    reserved: set[str] = field(default_factory=set)
    exact: dict[str, Lazy[Any]] = field(default_factory=dict)
    _origins: dict[int, NodeProto] = field(default_factory=dict)

    @property
    def opsets(self) -> dict[str, int]:
        """Version of the operators of each domain; the standard one, "ai.onnx" too, is ""."""
        found: dict[str, int] = {}
        for entry in self.proto.opset_import:
            found.setdefault("" if entry.domain == "ai.onnx" else entry.domain, entry.version)
        return found

    @property
    def opset(self) -> int:
        """Version of the standard operators; 1 where the model imports none."""
        return self.opsets.get("", 1)

    def origin(self, node: gs.Node) -> NodeProto | None:
        """The node as it was read; None for a node that was added since."""
        return self._origins.get(id(node))

    def adopt(self, node: gs.Node, origin: NodeProto) -> None:
        """Take another protobuf for what the node was read from: its bodies are others now."""
        self._origins[id(node)] = origin


def from_proto(proto: ModelProto, folder: Path | None = None) -> Model:
    """Wrap a model; the protobuf is shared and must not be changed afterwards."""
    tensors: dict[str, gs.Tensor] = {}

    def tensor(name: str) -> gs.Tensor:
        if not name:
            return gs.Variable.empty()
        found = tensors.get(name)
        if found is None:
            found = tensors[name] = gs.Variable(name)
        return found

    graph = proto.graph
    inputs = [tensor(i.name) for i in graph.input]
    outputs = [tensor(o.name) for o in graph.output]
    # graphsurgeon's own reader makes a tensor of every weight, and takes twice as long.
    nodes = [
        gs.Node(
            node.op_type,
            node.name,
            _attributes(node),
            [tensor(name) for name in node.input],
            [tensor(name) for name in node.output],
            node.domain or None,
        )
        for node in graph.node
    ]
    model = Model(proto, folder, gs.Graph(), list(proto.functions))
    imports = [onnx.helper.make_opsetid(d, v) for d, v in {"": 1, **model.opsets}.items()]
    model.graph = gs.Graph(
        nodes, inputs, outputs, graph.name or "graph", opset=model.opset, import_domains=imports
    )
    model._origins = {id(n): p for n, p in zip(nodes, graph.node, strict=True)}
    return model


def _attributes(node: NodeProto) -> dict[str, Any]:
    """Attributes that are numbers or text; one whose bytes are no text is nobody's to read."""
    found: dict[str, Any] = {}
    for attribute in node.attribute:
        read = _READ.get(attribute.type)
        if read is not None and not attribute.ref_attr_name:
            # A text that is no UTF-8 is not known.
            with suppress(UnicodeDecodeError):
                found[attribute.name] = read(attribute)
    return found


def captured_names(graph: GraphProto) -> set[str]:
    """Names that subgraphs of `graph` mention: tensors of it that they may read."""
    return captured_by(graph.node)


def captured_by(nodes: Iterable[NodeProto]) -> set[str]:
    """Names that subgraphs of the nodes mention."""
    names: set[str] = set()
    for inner in _subgraphs(nodes):
        names.update(o.name for o in inner.output)
        for node in inner.node:
            names.update(node.input)
    return names


def _subgraphs(nodes: Iterable[NodeProto]) -> Iterator[GraphProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.type in PLAIN:
                continue
            for inner in (attribute.g, *attribute.graphs):
                if inner.node or inner.output:
                    yield inner
                    yield from _subgraphs(inner.node)


def assemble(
    model: Model,
    *,
    freeze: bool = False,
    store: Store | None = None,
    misstated: Collection[str] = (),
) -> ModelProto:
    """The protobuf of the graph as it is now, with everything that nobody touched as it was.

    Initializers that nothing mentions go. Those that are graph inputs too, which a caller may
    give, stay where nothing has mentioned them from the beginning.

    freeze     initializers are no graph inputs any more
    store      takes the weights that were added, so that they need no memory
    misstated  tensors of which the file tells what is not so; the result tells nothing of them
    """
    old = model.proto
    new = ModelProto()
    for descriptor, value in old.ListFields():
        if descriptor.name in ("graph", "functions"):
            continue
        if descriptor.is_repeated:
            getattr(new, descriptor.name).MergeFrom(value)
        elif descriptor.message_type is not None:
            getattr(new, descriptor.name).CopyFrom(value)
        else:
            setattr(new, descriptor.name, value)
    new.functions.extend(model.functions)
    for descriptor, value in old.graph.ListFields():
        if descriptor.name in ("node", "initializer", "input", "value_info"):
            continue
        target = getattr(new.graph, descriptor.name)
        if descriptor.is_repeated:
            target.MergeFrom(value)
        else:
            setattr(new.graph, descriptor.name, value)
    new.graph.node.extend(_export_node(model, n) for n in model.graph.nodes)
    added = {t.name: t for n in model.graph.nodes for t in n.inputs if isinstance(t, gs.Constant)}
    tensors = [_export_constant(t, store) for t in added.values()]
    produced = _export_tensors(model, new, tensors, freeze and old.ir_version >= 4)
    told = (v for v in old.graph.value_info if v.name in produced and v.name not in misstated)
    new.graph.value_info.extend(told)
    return new


def _export_node(model: Model, node: gs.Node) -> NodeProto:
    inputs, outputs = [t.name for t in node.inputs], [t.name for t in node.outputs]
    origin = model.origin(node)
    if origin is None:
        made: NodeProto = OnnxExporter.export_node(node)
        return made
    if list(origin.input) == inputs and list(origin.output) == outputs:
        return origin
    changed = NodeProto()
    changed.CopyFrom(origin)
    del changed.input[:], changed.output[:]
    changed.input.extend(inputs)
    changed.output.extend(outputs)
    return changed


def _mentioned(model: ModelProto, graph: GraphProto) -> set[str]:
    """Names that nodes, outputs, bodies, training or annotations refer to."""
    names = captured_names(graph) | {o.name for o in graph.output}
    names.update(*(n.input for n in graph.node))
    for training in model.training_info:
        for inner in (training.initialization, training.algorithm):
            names.update(captured_names(inner), *(n.input for n in inner.node))
        bindings = (*training.initialization_binding, *training.update_binding)
        names.update(b.key for b in bindings)
        names.update(b.value for b in bindings)
    for annotation in graph.quantization_annotation:
        names.add(annotation.tensor_name)
        names.update(p.value for p in annotation.quant_parameter_tensor_names)
    return names


def _export_constant(constant: gs.Constant, store: Store | None) -> TensorProto:
    values = constant.values
    if store is None or values.dtype.kind != "f" or values.nbytes < _STORED_FROM:
        made: TensorProto = OnnxExporter.export_tensor_proto(constant)
        return made
    stored = store(constant.name, values)
    # Nobody asks for them any more, and the graph lives to the end of the job.
    constant.values = np.zeros(0, values.dtype)
    return stored


def _export_tensors(
    model: Model, new: ModelProto, added: Sequence[TensorProto], freeze: bool
) -> set[str]:
    """Hand on initializers and inputs; names of all tensors that there are."""
    old = model.proto.graph
    before, after = _mentioned(model.proto, old), _mentioned(model.proto, new.graph)
    optional = {i.name for i in old.input} if model.proto.ir_version >= 4 else set[str]()
    gone = {t.name for t in old.initializer} - after
    gone -= optional - before
    new.graph.initializer.extend(t for t in old.initializer if t.name not in gone)
    new.graph.initializer.extend(added)
    initializers = {t.name for t in old.initializer}
    new.graph.input.extend(
        i for i in old.input if i.name not in initializers or not (freeze or i.name in gone)
    )
    if model.proto.ir_version < 4:
        # Before IR 4 every initializer has to be a graph input as well.
        new.graph.input.extend(
            onnx.helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in added
        )
    return after.union(*(n.output for n in new.graph.node))
