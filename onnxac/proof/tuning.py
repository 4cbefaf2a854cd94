"""Which form of a region is the faster one on this machine: as it was, or as a change made it.

The nodes that a change added, and what they replace, are cut out of the two graphs as for a
certificate, and run by turns as two small models. Regions that are alike are measured once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx
from onnx import GraphProto, ModelProto, TypeProto, helper, numpy_helper

from onnxac.errors import OnnxacError
from onnxac.proof.certificate.calls import UnknownOperatorError
from onnxac.proof.certificate.cut import Cut, Part, cut_out, graphs
from onnxac.proof.certificate.places import Views
from onnxac.proof.certificate.shapes import inferred
from onnxac.proof.running.latency import compare_latency
from onnxac.proof.settings import Tick, untold
from onnxac.report import Fusion
from onnxac.report.timing import Timing

# Extents that nobody has said: the batch, and any other.
_BATCH, _EXTENT = 1, 224
_RUNS, _WARMUP, _SECONDS = 30, 3, 3.0
Types = Mapping[str, TypeProto]


def timings(
    before: ModelProto,
    after: ModelProto,
    fusions: Sequence[Fusion],
    folders: tuple[str, str] = ("", ""),
    shapes: Mapping[str, Sequence[int]] | None = None,
    tick: Tick = untold,
) -> dict[str, Timing]:
    """Both forms of each fusion, by its key; those that can't be run alone are missing.

    folders  where external data of the two models lies
    shapes   of inputs, by name; where an extent is not said, the batch is 1, and others 224
    """
    found: dict[str, Timing] = {}
    known: dict[object, Timing | None] = {}
    views = Views(_sized(before, shapes or {})), Views(_sized(after, shapes or {}))
    types: dict[str, Types] = {}
    for done, fusion in enumerate(fusions):
        tick(done, len(fusions))
        try:
            pair = views[0].of(fusion.place), views[1].of(fusion.place)
            if fusion.place not in types:
                types[fusion.place] = _types(pair[0])
            cut = cut_out(*graphs(*pair, folders), [n.name for n in fusion.added])
        except UnknownOperatorError:
            continue
        models = None if isinstance(cut, str) else _models(cut, pair, types[fusion.place])
        if models is None:
            continue
        likeness = tuple(map(_likeness, models))
        if likeness not in known:
            known[likeness] = _measured(*models)
        timing = known[likeness]
        if timing is not None:
            found[fusion.key] = timing
    return found


def _measured(before: ModelProto, after: ModelProto) -> Timing | None:
    try:
        found = compare_latency(before, after, runs=_RUNS, warmup=_WARMUP, max_seconds=_SECONDS)
    except OnnxacError:
        # A part may need what only the whole model has, such as a custom operator.
        return None
    return Timing(found.before_ms, found.after_ms, found.runs)


def _sized(model: ModelProto, shapes: Mapping[str, Sequence[int]]) -> ModelProto:
    """The model with a number for every extent of its inputs."""
    made = ModelProto()
    made.CopyFrom(model)
    for value in made.graph.input:
        given = shapes.get(value.name)
        for place, dim in enumerate(value.type.tensor_type.shape.dim):
            if given is not None and place < len(given):
                dim.dim_value = given[place]
            elif not dim.HasField("dim_value") or dim.dim_value < 0:
                dim.dim_value = _BATCH if place == 0 else _EXTENT
    # What the file says of tensors inside is in terms of extents that are numbers now.
    del made.graph.value_info[:]
    for value in made.graph.output:
        value.type.tensor_type.ClearField("shape")
    return made


def _types(model: ModelProto) -> Types:
    graph = inferred(model)
    return {v.name: v.type for v in (*graph.input, *graph.value_info, *graph.output)}


def _models(
    cut: Cut, pair: tuple[ModelProto, ModelProto], types: Types
) -> tuple[ModelProto, ModelProto] | None:
    """Both forms as models; None where the shape of a source is not known."""
    sources = [types.get(s) for s in cut.sources]
    if not all(s is not None and _is_settled(s) for s in sources) or not cut.sources:
        return None
    first, second = (_model(cut, p, m, types) for p, m in zip(_parts(cut), pair, strict=True))
    return first, second


def _parts(cut: Cut) -> tuple[Part, Part]:
    return cut.before, cut.after


def _model(cut: Cut, part: Part, whole: ModelProto, types: Types) -> ModelProto:
    made = ModelProto(ir_version=whole.ir_version, opset_import=whole.opset_import)
    made.functions.extend(whole.functions)
    graph = made.graph
    graph.name = "part"
    graph.node.extend(part.nodes)
    read = dict.fromkeys(i for n in part.nodes for i in n.input if i)
    stored = [n for n in read if n in part.stored and n not in cut.sources]
    graph.initializer.extend(numpy_helper.from_array(part.value(n), n) for n in stored)
    graph.input.extend(onnx.ValueInfoProto(name=s, type=types[s]) for s in cut.sources)
    alike = helper.make_tensor_type_proto(types[cut.sources[0]].tensor_type.elem_type, None)
    graph.output.extend(onnx.ValueInfoProto(name=t, type=types.get(t, alike)) for t in cut.targets)
    return made


def _is_settled(kind: TypeProto) -> bool:
    tensor = kind.tensor_type
    return (
        bool(tensor.elem_type)
        and tensor.HasField("shape")
        and all(d.HasField("dim_value") for d in tensor.shape.dim)
    )


def _likeness(model: ModelProto) -> tuple[object, ...]:
    """The model without names and weights."""
    graph: GraphProto = model.graph
    number: dict[str, int] = {"": -1}

    def told(names: Sequence[str]) -> tuple[int, ...]:
        return tuple(number.setdefault(n, len(number)) for n in names)

    inputs = tuple(v.type.SerializeToString(deterministic=True) for v in graph.input)
    told([v.name for v in graph.input])
    nodes = tuple(
        (
            n.domain,
            n.op_type,
            told(n.input),
            told(n.output),
            tuple(a.SerializeToString(deterministic=True) for a in n.attribute),
        )
        for n in graph.node
    )
    weights = tuple((told([t.name]), t.data_type, tuple(t.dims)) for t in graph.initializer)
    return inputs, nodes, weights, told([v.name for v in graph.output])
