"""Mutants of the models in models/: what a bad exporter, a bad disk or an attacker may write.

A mutant is told by its seed; `judging` says what became of it.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper
from onnx.checker import ValidationError

MODELS = Path(__file__).parents[2] / "models" / "onnx"
# Small ones, so that a mutant costs milliseconds.
LARGEST = 30_000

Mutation = Callable[[random.Random, ModelProto], None]


@lru_cache(maxsize=1)
def originals() -> tuple[Path, ...]:
    # Half precisions are left out: the judge takes the type of an output for that of all.
    return tuple(
        sorted(
            p
            for p in MODELS.glob("*/*.onnx")
            if p.stat().st_size <= LARGEST and not p.stem.endswith(".f16")
        )
    )


def mutant(seed: int) -> tuple[str, bytes]:
    """Name of what was mutated, and the bytes that came of it."""
    rng = random.Random(seed)
    path = rng.choice(originals())
    model = onnx.load(path)
    done = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        mutation = rng.choice(MUTATIONS)
        done.append(mutation.__name__)
        try:
            mutation(rng, model)
        except (IndexError, ValueError, TypeError, OverflowError, ValidationError):
            # There is nothing of that kind in this model, or protobuf won't hold it.
            done.append("(not)")
    data = model.SerializeToString()
    if rng.random() < 0.08:
        done.append("bytes")
        data = _spoiled(rng, data)
    return f"{path.parent.name}/{path.name}: {' '.join(done)}", data


# Values that stand where others are expected.


def odd_int(rng: random.Random, value: int = 1) -> int:
    return rng.choice(
        (0, -1, 1, 2, 3, value + 1, value - 1, -value, 7, 99, 2**31 - 1, 2**40, -(2**63))
    )


def odd_ints(rng: random.Random, values: list[int]) -> list[int]:
    kind = rng.randrange(6)
    if kind == 0:
        return values[:-1]
    if kind == 1:
        return [*values, odd_int(rng)]
    if kind == 2:
        return []
    if kind == 3:
        return list(reversed(values))
    changed = list(values) or [1]
    place = rng.randrange(len(changed))
    changed[place] = odd_int(rng, changed[place])
    return changed


def odd_name(rng: random.Random, name: str) -> str:
    choices = ("", name + "_", name.upper(), "a b\n::error", "ü\u202e", "x" * 5000, "/".join(name))
    return rng.choice(choices)


def _node(rng: random.Random, model: ModelProto) -> NodeProto:
    node: NodeProto = rng.choice(model.graph.node)
    return node


def _tensor(rng: random.Random, model: ModelProto) -> TensorProto:
    stored = [a.t for n in model.graph.node for a in n.attribute if a.HasField("t")]
    tensor: TensorProto = rng.choice([*model.graph.initializer, *stored])
    return tensor


def _names(graph: GraphProto) -> list[str]:
    made = [o for n in graph.node for o in n.output if o]
    return [*made, *(i.name for i in graph.input), *(t.name for t in graph.initializer)]


# Edges.


def rewire(rng: random.Random, model: ModelProto) -> None:
    node = _node(rng, model)
    node.input[rng.randrange(len(node.input))] = rng.choice(_names(model.graph))


def rewire_to_before(rng: random.Random, model: ModelProto) -> None:
    """Read another tensor, one that is there already."""
    place = rng.randrange(len(model.graph.node))
    node = model.graph.node[place]
    before = [o for n in model.graph.node[:place] for o in n.output]
    before += [i.name for i in model.graph.input]
    node.input[rng.randrange(len(node.input))] = rng.choice(before)


def leave_out(rng: random.Random, model: ModelProto) -> None:
    node = _node(rng, model)
    node.input[rng.randrange(len(node.input))] = ""


def cut_inputs(rng: random.Random, model: ModelProto) -> None:
    del _node(rng, model).input[-1]


def swap_inputs(rng: random.Random, model: ModelProto) -> None:
    node = _node(rng, model)
    first, second = rng.sample(range(len(node.input)), 2)
    node.input[first], node.input[second] = node.input[second], node.input[first]


def more_inputs(rng: random.Random, model: ModelProto) -> None:
    _node(rng, model).input.append(rng.choice(_names(model.graph)))


def more_outputs(rng: random.Random, model: ModelProto) -> None:
    _node(rng, model).output.append("another")


def graph_output(rng: random.Random, model: ModelProto) -> None:
    """Something inside is an output, too."""
    name = rng.choice([o for n in model.graph.node for o in n.output if o])
    model.graph.output.append(onnx.ValueInfoProto(name=name))
    model.graph.output[-1].type.tensor_type.elem_type = TensorProto.FLOAT


def drop_node(rng: random.Random, model: ModelProto) -> None:
    del model.graph.node[rng.randrange(len(model.graph.node))]


def bypass(rng: random.Random, model: ModelProto) -> None:
    """A node goes, and its readers read what it read."""
    place = rng.randrange(len(model.graph.node))
    node = model.graph.node[place]
    source, made = node.input[0], node.output[0]
    del model.graph.node[place]
    for other in model.graph.node:
        for index, name in enumerate(other.input):
            if name == made:
                other.input[index] = source


def insert(rng: random.Random, model: ModelProto) -> None:
    """One more operator between a node and what it reads."""
    place = rng.randrange(len(model.graph.node))
    node = model.graph.node[place]
    index = rng.randrange(len(node.input))
    op, attributes = rng.choice(UNARY)
    made = helper.make_node(op, [node.input[index]], ["inserted"], **attributes)
    node.input[index] = "inserted"
    model.graph.node.insert(place, made)


UNARY: tuple[tuple[str, dict[str, Any]], ...] = (
    ("Relu", {}), ("Identity", {}), ("Neg", {}), ("Transpose", {}), ("Shape", {}), ("Flatten", {}),
    ("Transpose", {"perm": [0, 2, 3, 1]}), ("Cast", {"to": 1}), ("Cast", {"to": 10}),
    ("Cast", {"to": 7}), ("Softmax", {"axis": 1}), ("GlobalAveragePool", {}), ("Dropout", {}),
    ("DepthToSpace", {"blocksize": 2}), ("ReduceMean", {}), ("Size", {}), ("Squeeze", {}),
    ("AveragePool", {"kernel_shape": [2, 2]}), ("MaxPool", {"kernel_shape": [1, 1]}),
    ("LeakyRelu", {"alpha": 1.0}), ("Clip", {}), ("Gelu", {}), ("Concat", {"axis": 1}),
)  # fmt: skip


def shuffle_nodes(rng: random.Random, model: ModelProto) -> None:
    first, second = rng.sample(range(len(model.graph.node)), 2)
    nodes = list(model.graph.node)
    nodes[first], nodes[second] = nodes[second], nodes[first]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def other_operator(rng: random.Random, model: ModelProto) -> None:
    _node(rng, model).op_type = rng.choice(OPERATORS)


OPERATORS = (
    "Add", "Sub", "Mul", "Div", "Conv", "ConvTranspose", "MatMul", "Gemm", "Concat", "Sum", "Max",
    "BatchNormalization", "Reshape", "Transpose", "Slice", "Pad", "Gather", "ScatterND", "Where",
    "Expand", "Tile", "Split", "Einsum", "Resize", "Pow", "PRelu", "Clip", "Cast", "Unsqueeze",
    "ReduceSum", "AveragePool", "LayerNormalization", "InstanceNormalization", "Mean", "Loop",
)  # fmt: skip


def other_domain(rng: random.Random, model: ModelProto) -> None:
    _node(rng, model).domain = "my"
    if rng.random() < 0.8:
        model.opset_import.append(helper.make_opsetid("my", 1))


# Attributes.


def _attribute(rng: random.Random, model: ModelProto) -> AttributeProto:
    attribute: AttributeProto = rng.choice([a for n in model.graph.node for a in n.attribute])
    return attribute


# ONNX Runtime runs by all bits of these and infers shapes by the low 32: by 2**40 it takes a model
# or leaves it, as it knows the shapes or doesn't.
FLAGS = frozenset({"transA", "transB"})


def other_value(rng: random.Random, model: ModelProto) -> None:
    attribute = _attribute(rng, model)
    if attribute.type == AttributeProto.INTS:
        values = odd_ints(rng, list(attribute.ints))
        del attribute.ints[:]
        attribute.ints.extend(values)
    elif attribute.name in FLAGS:
        attribute.i = rng.choice((0, 1, 2, -1))
    elif attribute.type == AttributeProto.INT:
        attribute.i = odd_int(rng, attribute.i)
    elif attribute.type == AttributeProto.FLOAT:
        attribute.f = rng.choice((0.0, -1.0, 1e30, float("nan"), float("inf")))
    elif attribute.type == AttributeProto.STRING:
        attribute.s = rng.choice((b"", b"\xff", b"wrap", b"reflect", b"SAME_UPPER", b"VALID"))


def other_type(rng: random.Random, model: ModelProto) -> None:
    attribute = _attribute(rng, model)
    name = attribute.name
    values: tuple[Any, ...] = (1, 1.5, "text", b"\xff", [1, 2], [1.5], ["a"])
    attribute.CopyFrom(helper.make_attribute(name, rng.choice(values)))


def other_tag(rng: random.Random, model: ModelProto) -> None:
    """The type says one thing, the field another."""
    _attribute(rng, model).type = rng.choice(list(AttributeProto.AttributeType.values()))


def drop_attribute(rng: random.Random, model: ModelProto) -> None:
    node = rng.choice([n for n in model.graph.node if n.attribute])
    del node.attribute[rng.randrange(len(node.attribute))]


def add_attribute(rng: random.Random, model: ModelProto) -> None:
    name, value = rng.choice(ADDED)
    _node(rng, model).attribute.append(helper.make_attribute(name, value))


ADDED: tuple[tuple[str, Any], ...] = (
    ("axis", 1), ("axis", -9), ("group", 2), ("pads", [1, 1, 1, 1]), ("strides", [2, 2]),
    ("dilations", [3, 3]), ("auto_pad", "SAME_LOWER"), ("ceil_mode", 1), ("training_mode", 1),
    ("spatial", 0), ("keepdims", 0), ("transA", 1), ("transB", 1), ("alpha", 0.0), ("beta", 2.0),
    ("reduction", "add"), ("mode", "edge"), ("perm", [0, 1]), ("kernel_shape", [9, 9]),
    ("output_shape", [4, 4]), ("output_padding", [1, 1]), ("epsilon", -1.0), ("broadcast", 1),
)  # fmt: skip


# Types, extents, values.


def stored_type(rng: random.Random, model: ModelProto) -> None:
    _tensor(rng, model).data_type = rng.choice((0, 1, 2, 6, 7, 8, 9, 10, 11, 14, 16, 17, 22, 99))


def stored_dims(rng: random.Random, model: ModelProto) -> None:
    tensor = _tensor(rng, model)
    dims = odd_ints(rng, list(tensor.dims))
    del tensor.dims[:]
    tensor.dims.extend(dims)


def reshaped_weight(rng: random.Random, model: ModelProto) -> None:
    """The same data in another shape."""
    tensor = _tensor(rng, model)
    dims = [d for d in tensor.dims if d != 1] or [1]
    rng.shuffle(dims)
    del tensor.dims[:]
    tensor.dims.extend([1] * rng.randrange(3) + dims)


def _array(tensor: TensorProto) -> np.ndarray[Any, Any] | None:
    """The values of a tensor; None where a mutation before left none that can be read."""
    try:
        return onnx.numpy_helper.to_array(tensor).copy()
    except (KeyError, TypeError, ValueError):
        return None


def stored_values(rng: random.Random, model: ModelProto) -> None:
    tensor = _tensor(rng, model)
    array = _array(tensor)
    if array is None or not array.size:
        return
    array.reshape(-1)[rng.randrange(array.size)] = (
        rng.choice((float("nan"), float("inf"), 1e38, -1.0, 0.0))
        if array.dtype.kind == "f"
        else odd_int(rng, 2)
    )
    tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))


def all_one_value(rng: random.Random, model: ModelProto) -> None:
    tensor = _tensor(rng, model)
    array = _array(tensor)
    if array is None:
        return
    filled = np.full_like(array, rng.choice((0, 1, -1)))
    tensor.CopyFrom(onnx.numpy_helper.from_array(filled, tensor.name))


def outside(rng: random.Random, model: ModelProto) -> None:
    tensor = _tensor(rng, model)
    tensor.data_location = TensorProto.EXTERNAL
    location = rng.choice(("nowhere.bin", "../in.onnx", "in.onnx", "/dev/zero", ""))
    tensor.external_data.add(key="location", value=location)
    tensor.external_data.add(key="offset", value=rng.choice(("0", "-8", "many")))


def input_dim(rng: random.Random, model: ModelProto) -> None:
    dims = rng.choice([*model.graph.input, *model.graph.output]).type.tensor_type.shape.dim
    dim = rng.choice(dims)
    kind = rng.randrange(4)
    dim.Clear()
    if kind == 0:
        dim.dim_param = "n"
    elif kind == 1:
        dim.dim_value = rng.choice((-1, 0, 1, 2, 33, -(2**40), 2**40))
    elif kind == 2:
        dim.dim_param = ""


def input_rank(rng: random.Random, model: ModelProto) -> None:
    value = rng.choice([*model.graph.input, *model.graph.output])
    if rng.random() < 0.5:
        value.type.tensor_type.ClearField("shape")
    else:
        del value.type.tensor_type.shape.dim[rng.randrange(len(value.type.tensor_type.shape.dim)) :]


def input_type(rng: random.Random, model: ModelProto) -> None:
    value = rng.choice([*model.graph.input, *model.graph.output])
    value.type.tensor_type.elem_type = rng.choice((0, 1, 7, 8, 9, 10, 11, 16, 99))


def stale_value_info(rng: random.Random, model: ModelProto) -> None:
    name = rng.choice([o for n in model.graph.node for o in n.output if o])
    dims = [odd_int(rng) for _ in range(rng.randrange(6))]
    kind = rng.choice((1, 7, 10))
    model.graph.value_info.append(helper.make_tensor_value_info(name, kind, dims))


def also_an_input(rng: random.Random, model: ModelProto) -> None:
    """A weight that a caller may override."""
    tensor = rng.choice(model.graph.initializer)
    info = helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
    model.graph.input.append(info)


def feed_a_weight(rng: random.Random, model: ModelProto) -> None:
    """A weight that is an input only."""
    also_an_input(rng, model)
    name = model.graph.input[-1].name
    left = [t for t in model.graph.initializer if t.name != name]
    del model.graph.initializer[:]
    model.graph.initializer.extend(left)


# Versions and names.


def other_opset(rng: random.Random, model: ModelProto) -> None:
    rng.choice(model.opset_import).version = rng.choice(
        (0, 1, 3, 6, 7, 9, 10, 11, 12, 13, 18, 22, 99)
    )


def other_import(rng: random.Random, model: ModelProto) -> None:
    kind = rng.randrange(3)
    if kind == 0:
        model.opset_import[0].domain = "ai.onnx"
    elif kind == 1:
        model.opset_import.append(helper.make_opsetid("ai.onnx", 9))
    else:
        del model.opset_import[:]


def other_ir(rng: random.Random, model: ModelProto) -> None:
    model.ir_version = rng.choice((0, 1, 3, 4, 7, 8, 10, 99))


def rename_output(rng: random.Random, model: ModelProto) -> None:
    """Everywhere, so that the model stays what it is."""
    old = rng.choice([o for n in model.graph.node for o in n.output if o])
    new = rng.choice((odd_name(rng, old), rng.choice(_names(model.graph))))
    for node in model.graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == old:
                    names[index] = new
    for value in (*model.graph.output, *model.graph.value_info):
        if value.name == old:
            value.name = new


def rename_node(rng: random.Random, model: ModelProto) -> None:
    node = _node(rng, model)
    node.name = rng.choice((odd_name(rng, node.name), _node(rng, model).name))


def function(rng: random.Random, model: ModelProto) -> None:
    """A function of the model that is called like an operator of it."""
    node = _node(rng, model)
    body = [helper.make_node("Neg", ["a"], ["b"])]
    domain = rng.choice(("", "my"))
    imports = [helper.make_opsetid("", model.opset_import[0].version)]
    made = helper.make_function(domain, node.op_type, ["a"], ["b"], body, imports)
    model.functions.append(made)
    if domain:
        node.domain = domain
        del node.attribute[:], node.input[1:]
        model.opset_import.append(helper.make_opsetid(domain, 1))


def _spoiled(rng: random.Random, data: bytes) -> bytes:
    spoiled = bytearray(data)
    for _ in range(rng.choice((1, 1, 4, 16))):
        spoiled[rng.randrange(len(spoiled))] = rng.randrange(256)
    return bytes(spoiled[: rng.randrange(len(spoiled))] if rng.random() < 0.2 else spoiled)


MUTATIONS: tuple[Mutation, ...] = (
    rewire, rewire_to_before, rewire_to_before, leave_out, cut_inputs, swap_inputs, more_inputs,
    more_outputs, graph_output, drop_node, bypass, bypass, insert, insert, shuffle_nodes,
    other_operator, other_operator, other_domain, other_value, other_value, other_value,
    other_type, other_tag, drop_attribute, add_attribute, add_attribute, stored_type, stored_dims,
    reshaped_weight, stored_values, all_one_value, outside, input_dim, input_dim, input_rank,
    input_type, stale_value_info, also_an_input, feed_a_weight, other_opset, other_import,
    other_ir, rename_output, rename_node, function,
)  # fmt: skip
