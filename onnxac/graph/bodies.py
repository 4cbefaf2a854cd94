"""Bodies of If, Loop and Scan, and functions: where they are, and each as a model of its own.

A body reads tensors of the graphs around it by their names. As a model of its own it has them as
inputs or, where they are constants, as initializers; put back, it reads them from outside again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from onnx import (
    AttributeProto,
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    TypeProto,
    ValueInfoProto,
    helper,
)

from onnxac.report.places import all_nodes

# What is known of a tensor from outside: its value, its type, or nothing at all.
Given = TensorProto | TypeProto | None

# The domain that hides operators whose attributes are references from all who would read them.
_UNBOUND = "attributes by reference"


def all_names(model: ModelProto) -> set[str]:
    """Every name of a tensor or a node, wherever in the file."""
    found: set[str] = set()
    for owner in (model.graph, *model.functions):
        _collect(owner, found)
    return found


def _collect(owner: GraphProto | FunctionProto, found: set[str]) -> None:
    if isinstance(owner, GraphProto):
        found.update(v.name for v in (*owner.input, *owner.output))
        found.update(t.name for t in owner.initializer)
    else:
        found.update(owner.input, owner.output)
    for node in owner.node:
        found.add(node.name)
        found.update(node.input, node.output)
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                _collect(inner, found)


def read_outside(body: GraphProto) -> list[str]:
    """Tensors of the graphs around that the body reads, each once, in order."""
    own = {v.name for v in body.input} | {t.name for t in body.initializer}
    own |= {t.values.name for t in body.sparse_initializer}
    found: dict[str, None] = {}
    for node in body.node:
        inner = (g for a in node.attribute for g in (a.g, *a.graphs))
        names = (*node.input, *(n for g in inner for n in read_outside(g)))
        found.update((n, None) for n in names if n and n not in own)
        own.update(node.output)
    found.update((o.name, None) for o in body.output if o.name not in own)
    return list(found)


def alone(body: GraphProto, around: ModelProto, given: Mapping[str, Given]) -> ModelProto:
    """The body as a model of its own, of the versions of the model around it.

    given  what is known of each tensor that it reads from outside, and of its own inputs
    """
    made = ModelProto(ir_version=around.ir_version, opset_import=around.opset_import)
    made.functions.extend(_named_only(f) for f in around.functions)
    made.graph.CopyFrom(body)
    made.graph.name = body.name or "body"
    own = {v.name for v in made.graph.input}
    for value in made.graph.input:
        kind = given.get(value.name)
        if isinstance(kind, TypeProto) and not value.type.WhichOneof("value"):
            value.type.CopyFrom(kind)
    _give(made.graph, {n: g for n, g in given.items() if n not in own})
    return made


def _give(graph: GraphProto, given: Mapping[str, Given]) -> None:
    """Add inputs, or initializers, for what is given."""
    for name, what in given.items():
        if isinstance(what, TensorProto):
            tensor = graph.initializer.add()
            tensor.CopyFrom(what)
            tensor.name = name
        else:
            graph.input.append(ValueInfoProto(name=name, type=what))


def _named_only(function: FunctionProto) -> FunctionProto:
    """The function's name: what is inside is no business of who only has to know it."""
    return FunctionProto(domain=function.domain, name=function.name, overload=function.overload)


def back(made: GraphProto, body: GraphProto, given: Iterable[str]) -> GraphProto:
    """What became of a body, to be put in its place.

    made   the graph of the model that `alone` made of it, as it is now
    given  the names that were given to it
    """
    result = GraphProto()
    result.CopyFrom(made)
    result.name = body.name
    outside = set(given)
    stored = [t for t in made.initializer if t.name not in outside]
    del result.input[:], result.initializer[:]
    result.input.extend(body.input)
    result.initializer.extend(stored)
    return result


def bound(
    function: FunctionProto, calls: Sequence[NodeProto], others: Iterable[FunctionProto] = ()
) -> FunctionProto:
    """The function with the values of attributes in place of references, where all calls agree.

    Where they don't, the operators that have such attributes are hidden behind a domain of their
    own; `unhidden` shows them again.
    """
    result = FunctionProto()
    result.CopyFrom(function)
    defaults = {a.name: a for a in function.attribute_proto}
    for node in all_nodes(result.node):
        kept: list[AttributeProto] = []
        for attribute in node.attribute:
            if not attribute.ref_attr_name:
                kept.append(attribute)
                continue
            agreed, value = _agreed(attribute.ref_attr_name, defaults, calls)
            if not agreed:
                node.domain = f"{_UNBOUND}:{node.domain}"
                break
            if value is not None:
                filled = AttributeProto()
                filled.CopyFrom(value)
                filled.name = attribute.name
                kept.append(filled)
        else:
            copies = [AttributeProto.FromString(a.SerializeToString()) for a in kept]
            del node.attribute[:]
            node.attribute.extend(copies)
    return result


def _agreed(
    name: str, defaults: Mapping[str, AttributeProto], calls: Sequence[NodeProto]
) -> tuple[bool, AttributeProto | None]:
    """Whether all calls give the attribute one value, and that; None where none gives any."""
    found: list[AttributeProto | None] = []
    for call in calls:
        own = next((a for a in call.attribute if a.name == name), defaults.get(name))
        if own is not None and own.ref_attr_name:
            return False, None
        found.append(own)
    texts = {b"" if a is None else a.SerializeToString(deterministic=True) for a in found}
    return (True, found[0]) if len(texts) == 1 else (False, None)


def is_unbound(domain: str | None) -> bool:
    """Whether a domain is the one that hides operators whose attributes are references."""
    return (domain or "").startswith(_UNBOUND)


def function_alone(
    function: FunctionProto, around: ModelProto, given: Mapping[str, Given]
) -> ModelProto:
    """The function, bound, as a model of its own.

    given  what is known of each of its inputs
    """
    made = ModelProto(ir_version=around.ir_version, opset_import=function.opset_import)
    made.functions.extend(_named_only(f) for f in around.functions)
    made.graph.name = function.name
    made.graph.node.extend(function.node)
    made.graph.value_info.extend(function.value_info)
    _give(made.graph, {n: given.get(n) for n in function.input})
    made.graph.output.extend(ValueInfoProto(name=o) for o in function.output)
    return made


def function_back(
    made: GraphProto, function: FunctionProto, given: Mapping[str, Given]
) -> tuple[FunctionProto, list[int]]:
    """What became of a function, and which of its inputs are left, by their positions.

    A function has no initializers: each becomes a Constant. An input of which the value is known
    goes where nothing reads it any more.
    """
    result = FunctionProto()
    result.CopyFrom(function)
    nodes = list(made.node)
    read = {n for node in all_nodes(nodes) for n in node.input}
    read |= {o.name for node in all_nodes(nodes) for g in _graphs(node) for o in g.output}
    read |= set(function.output)
    left = [
        i
        for i, n in enumerate(function.input)
        if n in read or not isinstance(given.get(n), TensorProto)
    ]
    stored = [t for t in made.initializer if t.name not in given and t.name in read]
    constants = [helper.make_node("Constant", [], [t.name], value=t) for t in stored]
    del result.node[:], result.input[:], result.value_info[:]
    result.node.extend([*constants, *nodes])
    result.input.extend(function.input[i] for i in left)
    result.value_info.extend(made.value_info)
    for node in all_nodes(result.node):
        if is_unbound(node.domain):
            node.domain = node.domain.partition(":")[2]
    return result, left


def _graphs(node: NodeProto) -> Iterator[GraphProto]:
    for attribute in node.attribute:
        yield from (attribute.g, *attribute.graphs)


def with_body(node: NodeProto, attribute: int, body: GraphProto) -> NodeProto:
    """The node with another body."""
    changed = NodeProto()
    changed.CopyFrom(node)
    changed.attribute[attribute].g.CopyFrom(body)
    return changed


def own_inputs(
    node: NodeProto, body: GraphProto, type_of: Callable[[str], TypeProto | None]
) -> dict[str, TypeProto]:
    """Types of a body's inputs, as the operator says: states of Loop and Scan.

    A state may change its shape from turn to turn: of it only the element type is known.
    """
    names = [v.name for v in body.input]
    found: dict[str, TypeProto] = {}
    if node.op_type == "Loop":
        for name, kind in zip(names[:2], (TensorProto.INT64, TensorProto.BOOL), strict=False):
            found[name] = helper.make_tensor_type_proto(kind, [])
        read = list(zip(names[2:], node.input[2:], strict=False))
    elif node.op_type == "Scan" and len(names) == len(node.input):
        read = list(zip(names, node.input, strict=True))
    else:
        return found
    for name, source in read:
        known = type_of(source)
        if known is not None and known.tensor_type.elem_type:
            found[name] = helper.make_tensor_type_proto(known.tensor_type.elem_type, None)
    return found
