"""Models: reading and checking them, as a graphsurgeon graph, and back into a file.

graphsurgeon gets the topology only. Weights, types, subgraphs and every field that it does
not keep stay in the original protobuf: a node that nobody touched comes out byte for byte.
This is the one module that reads or writes model files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import onnx
import onnx_graphsurgeon as gs
from google.protobuf.message import DecodeError, EncodeError
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto
from onnx_graphsurgeon.exporters.onnx_exporter import OnnxExporter

from onnxac.errors import ModelError, UnsupportedError

_KEPT_ATTRIBUTES = (
    AttributeProto.FLOAT,
    AttributeProto.INT,
    AttributeProto.STRING,
    AttributeProto.FLOATS,
    AttributeProto.INTS,
)
_PROTO_LIMIT = 2**31 - 1


@dataclass
class Model:
    """A model, and its graph as graphsurgeon sees it.

    proto   the model as it was read; never changed
    folder  where its external data lies; None for a model from memory
    graph   nodes and tensors; tensors have names only
    """

    proto: ModelProto
    folder: Path | None
    graph: gs.Graph
    _origins: dict[int, NodeProto] = field(default_factory=dict)

    @property
    def opset(self) -> int:
        """Version of the standard operators; 1 where the model imports none."""
        return next((o.version for o in self.proto.opset_import if o.domain in ("", "ai.onnx")), 1)

    def origin(self, node: gs.Node) -> NodeProto | None:
        """The node as it was read; None for a node that was added since."""
        return self._origins.get(id(node))


def from_proto(proto: ModelProto, folder: Path | None = None) -> Model:
    """Wrap a model; the protobuf is shared and must not be changed afterwards."""
    skeleton = GraphProto(name=proto.graph.name or "graph")
    for node in proto.graph.node:
        bare = skeleton.node.add(
            op_type=node.op_type, name=node.name, input=node.input, output=node.output
        )
        if node.domain:
            bare.domain = node.domain
        bare.attribute.extend(
            a for a in node.attribute if a.type in _KEPT_ATTRIBUTES and _is_text(a)
        )
    skeleton.input.extend(onnx.ValueInfoProto(name=i.name) for i in proto.graph.input)
    skeleton.output.extend(onnx.ValueInfoProto(name=o.name) for o in proto.graph.output)
    shell = ModelProto(ir_version=proto.ir_version, graph=skeleton, opset_import=proto.opset_import)
    graph = gs.import_onnx(shell)
    model = Model(proto, folder, graph)
    model._origins = {id(n): p for n, p in zip(graph.nodes, proto.graph.node, strict=True)}
    return model


def _is_text(attribute: AttributeProto) -> bool:
    try:
        attribute.s.decode()
    except UnicodeDecodeError:
        return False
    return True


def load(path: Path) -> Model:
    """Read and check a model file; external data is not loaded.

    Raises ModelError where it can't be read or is not valid ONNX, UnsupportedError where
    its IR version or opset is newer than the installed onnx knows.
    """
    return from_proto(read_proto(path), path.resolve().parent)


def read_proto(path: Path) -> ModelProto:
    """The checked protobuf of a model file, without its external data."""
    if path.is_dir():
        raise ModelError(f"{path}: is a folder; name the .onnx file in it")
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file") from None
    except OSError as error:
        raise ModelError(f"{path}: can't be read: {error.strerror}") from error
    if not data:
        raise ModelError(f"{path}: is empty, not an ONNX model")
    proto = ModelProto()
    try:
        proto.ParseFromString(data)
    except DecodeError:
        raise ModelError(f"{path}: not an ONNX model, or cut short") from None
    if not proto.HasField("graph") or not proto.ir_version:
        raise ModelError(f"{path}: not an ONNX model: it holds no graph")
    check(proto, str(path), path)
    return proto


def check(proto: ModelProto, where: str, path: Path | None = None) -> None:
    """Raise ModelError or UnsupportedError where `proto` is not a valid model.

    path  the file it came from: needed to check external data, and past 2 GB
    """
    if proto.ir_version > onnx.IR_VERSION:
        raise UnsupportedError(
            f"{where}: IR version {proto.ir_version} is newer than onnx {onnx.__version__} knows "
            f"({onnx.IR_VERSION}); upgrade onnx"
        )
    newest = onnx.defs.onnx_opset_version()
    for opset in proto.opset_import:
        if opset.domain in ("", "ai.onnx") and opset.version > newest:
            raise UnsupportedError(
                f"{where}: opset {opset.version} is newer than onnx {onnx.__version__} knows "
                f"({newest}); upgrade onnx, or export at opset {newest}"
            )
    try:
        onnx.checker.check_model(proto if path is None else str(path))
    except onnx.checker.ValidationError as error:
        text = " ".join(str(error).split())
        # The checker wants a shape on every output; runtimes do without.
        if "Field 'shape' of 'type' is required but missing" not in text:
            raise ModelError(f"{where}: not valid ONNX: {_first_sentence(text)}") from error
    except (EncodeError, ValueError) as error:
        raise ModelError(f"{where}: larger than 2 GB in memory; give its path instead") from error


def _first_sentence(text: str, limit: int = 300) -> str:
    text = text.split(" ==> Context:")[0]
    return text if len(text) <= limit else text[: limit - 1] + "…"


def captured_names(graph: GraphProto) -> set[str]:
    """Names that subgraphs of `graph` mention: tensors of it that they may read."""
    names: set[str] = set()
    for inner in _subgraphs(graph):
        names.update(o.name for o in inner.output)
        for node in inner.node:
            names.update(node.input)
    return names


def _subgraphs(graph: GraphProto) -> Iterator[GraphProto]:
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                if inner.node or inner.output:
                    yield inner
                    yield from _subgraphs(inner)


def assemble(model: Model) -> ModelProto:
    """The protobuf of the graph as it is now, with everything that nobody touched as it was.

    Initializers that lost their last reader go; those that never had one stay.
    """
    old = model.proto
    new = ModelProto()
    for descriptor, value in old.ListFields():
        if descriptor.name == "graph":
            continue
        if descriptor.is_repeated:
            getattr(new, descriptor.name).MergeFrom(value)
        elif descriptor.message_type is not None:
            getattr(new, descriptor.name).CopyFrom(value)
        else:
            setattr(new, descriptor.name, value)
    for descriptor, value in old.graph.ListFields():
        if descriptor.name in ("node", "initializer", "input", "value_info"):
            continue
        target = getattr(new.graph, descriptor.name)
        if descriptor.is_repeated:
            target.MergeFrom(value)
        else:
            setattr(new.graph, descriptor.name, value)
    new.graph.node.extend(_export_node(model, n) for n in model.graph.nodes)
    _export_tensors(model, new)
    return new


def _export_node(model: Model, node: gs.Node) -> NodeProto:
    inputs, outputs = [t.name for t in node.inputs], [t.name for t in node.outputs]
    origin = model.origin(node)
    if origin is None:
        return OnnxExporter.export_node(node)
    if list(origin.input) == inputs and list(origin.output) == outputs:
        return origin
    changed = NodeProto()
    changed.CopyFrom(origin)
    del changed.input[:], changed.output[:]
    changed.input.extend(inputs)
    changed.output.extend(outputs)
    return changed


def _export_tensors(model: Model, new: ModelProto) -> None:
    old = model.proto.graph
    def mentioned(graph: GraphProto) -> set[str]:
        names = captured_names(graph) | {o.name for o in graph.output}
        return names.union(*(n.input for n in graph.node))

    before, after = mentioned(old), mentioned(new.graph)
    gone = before - after
    added = {
        t.name: t
        for n in model.graph.nodes
        for t in n.inputs if isinstance(t, gs.Constant)
    }
    new.graph.initializer.extend(t for t in old.initializer if t.name not in gone)
    new.graph.initializer.extend(OnnxExporter.export_tensor_proto(t) for t in added.values())
    initializers = {t.name for t in old.initializer}
    new.graph.input.extend(
        i for i in old.input if i.name not in gone or i.name not in initializers
    )
    if model.proto.ir_version < 4:
        # Before IR 4 every initializer has to be a graph input as well.
        new.graph.input.extend(
            onnx.helper.make_tensor_value_info(t.name, OnnxExporter.export_tensor_proto(t).data_type, t.shape)
            for t in added.values()
        )
    produced = after.union(*(n.output for n in new.graph.node))
    new.graph.value_info.extend(v for v in old.value_info if v.name in produced)


def initializer_bytes(tensor: TensorProto) -> int:
    """Size of a tensor's data in bytes, wherever it lies."""
    count = 1
    for d in tensor.dims:
        count *= d
    return int(count * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)
