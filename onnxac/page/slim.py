"""A model without its weights: what a viewer needs to draw it."""

from __future__ import annotations

from collections.abc import Iterator

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

# Shapes, paddings and scalars say something when they are looked at; weights don't.
SMALL_BYTES = 256
# Exporters write stack traces into documentation and metadata.
LONG_TEXT = 300


def without_weights(model: ModelProto) -> ModelProto:
    """A copy of the model in which large tensors keep their name, type and shape only."""
    slim = ModelProto(ir_version=model.ir_version)
    slim.opset_import.extend(model.opset_import)
    slim.producer_name, slim.producer_version = model.producer_name, model.producer_version
    slim.functions.extend(model.functions)
    _copy_graph(model.graph, slim.graph)
    for nodes in (slim.graph.node, *(f.node for f in slim.functions)):
        for node in nodes:
            _strip(node)
    return slim


def _copy_graph(source: GraphProto, target: GraphProto) -> None:
    target.name = source.name
    target.input.extend(source.input)
    target.output.extend(source.output)
    target.value_info.extend(source.value_info)
    target.node.extend(source.node)
    # A weight is left out, not copied and cleared: that would need the memory of all of them.
    target.initializer.extend(_shape_only(t) for t in source.initializer)


def _strip(node: NodeProto) -> None:
    if len(node.doc_string) > LONG_TEXT:
        node.ClearField("doc_string")
    kept = [entry for entry in node.metadata_props if len(entry.value) <= LONG_TEXT]
    del node.metadata_props[:]
    node.metadata_props.extend(kept)
    for attribute in node.attribute:
        if attribute.type == AttributeProto.TENSOR:
            attribute.t.CopyFrom(_shape_only(attribute.t))
        for graph in _graphs(attribute):
            slim = [_shape_only(t) for t in graph.initializer]
            del graph.initializer[:]
            graph.initializer.extend(slim)
            for inner in graph.node:
                _strip(inner)


def _graphs(attribute: AttributeProto) -> Iterator[GraphProto]:
    if attribute.type == AttributeProto.GRAPH:
        yield attribute.g
    yield from attribute.graphs


def _shape_only(tensor: TensorProto) -> TensorProto:
    is_external = tensor.data_location == TensorProto.EXTERNAL
    if not is_external and tensor.ByteSize() <= SMALL_BYTES:
        return tensor
    return TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
