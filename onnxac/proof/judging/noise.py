"""The original's own rounding noise: how far it moves when its weights move by one rounding.

A fused kernel is the original's weights, rounded once more, and summed in another
order. Both are within what an original does whose weights are off in the last bit. So
the original with such weights, run on the same feed, measures what a legitimate
optimizer may change: next to nothing on a healthy net, and a lot on one whose
statistics amplify every rounding.

Weights alone do not show the rounding of an operator that saturates. A Sigmoid near 0 hardly moves
when what it reads does, and yet its result is good to 1e-7 only, of which a gate makes 1e-7 of what
it is multiplied by. So what such operators give is moved, too, by ε of their range.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.helper import make_node

from onnxac.errors import ModelError
from onnxac.proof.judging.compare import EPSILON, epsilon
from onnxac.proof.judging.identity import captured
from onnxac.proof.running.feeds import noisy
from onnxac.report.places import all_nodes, called_by, key_of
from onnxac.storage.wire import point

# Floating-point operands that steer rather than weigh: half an ulp may cost a whole row.
STEERING = frozenset({"Resize", "Upsample", "Range", "NonMaxSuppression", "OneHot", "Pad"})

# Operators that ONNX Runtime computes to so many digits of their range, which is 1, and which
# hardly follow their input where they saturate. Not Softmax: its small values are as exact.
SATURATING = frozenset({"Sigmoid", "Tanh", "Erf"})
# Standard operators that may give another result each time; of other domains, none is known not to.
RANDOM = frozenset(
    {
        "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial",
        "Bernoulli", "Dropout",
    }
)  # fmt: skip
STANDARD = frozenset({"", "ai.onnx", "ai.onnx.ml"})
# cos(PITCH·x + phase) is as good as random from one element to the next, whatever the shape of x.
PITCH = 12345.678
# Since then operands are broadcast as they are in NumPy.
BROADCASTING_OPSET = 7

# A noisy copy lies on the disk, so not for models beyond this, and not where it gets narrow.
MAX_BYTES = 1 << 32
# Elements of data in other files that get their noise at once.
CHUNK = 1 << 18


def write_noisy(
    model: onnx.ModelProto,
    folder: Path,
    target: Path,
    seed: int,
    least: float = 0.0,
    *,
    results: bool = False,
) -> bool:
    """Write `model`, whose external data lies in `folder`, with noisy weights to `target`.

    Every weight w becomes w·(1 + ε·u), with u in [-1, 1] and ε of the weight's own type, or
    `least` where that is coarser. With `results`, every result y of an operator that saturates
    becomes y + ε·u, with ε of float32: the runtime does not load that where it is of another type.
    What lies in files goes to the file `data_of(target)` in chunks. False, and nothing is
    written, when the model is too large for it.
    """
    if bytes_of(model) > min(MAX_BYTES, shutil.disk_usage(target.parent).free // 2):
        return False
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    steering = {name for n in copy.graph.node if n.op_type in STEERING for name in n.input[1:]}
    rng = np.random.default_rng(seed)
    with data_of(target).open("xb") as data:
        for name, tensor in _weights(copy.graph):
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                draw = None if name in steering else rng
                _copy(tensor, folder, data, draw, least)
            elif name not in steering:
                _perturb(tensor, rng, least)
    if results:
        _move_results(copy, rng)
    target.write_bytes(copy.SerializeToString())
    return True


def may_draw(model: onnx.ModelProto) -> bool:
    """Whether a node of the model may draw at random, in bodies and functions too."""
    functions = {key_of(f) for f in model.functions}
    graphs = (model.graph.node, *(f.node for f in model.functions))
    return any(
        n.op_type in RANDOM or (n.domain not in STANDARD and called_by(n) not in functions)
        for nodes in graphs
        for n in all_nodes(nodes)
    )


def _move_results(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    """Add ε·cos(PITCH·x + phase) to what each saturating operator of the graph makes of x."""
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    if opset < BROADCASTING_OPSET:
        return
    graph, nodes = model.graph, list[onnx.NodeProto]()
    names = _free_names(graph)
    for node in graph.node:
        nodes.append(node)
        if node.op_type not in SATURATING or node.domain not in ("", "ai.onnx"):
            continue
        read, made = node.input[0], node.output[0]
        pure, scaled, phased, wave, moved, pitch, phase, size = itertools.islice(names, 8)
        node.output[0] = pure
        values = {pitch: PITCH, phase: rng.uniform(0, 2 * np.pi), size: EPSILON["float32"]}
        graph.initializer.extend(
            numpy_helper.from_array(np.array(value, np.float32), name)
            for name, value in values.items()
        )
        nodes += [
            make_node("Mul", [read, pitch], [scaled]),
            make_node("Add", [scaled, phase], [phased]),
            make_node("Cos", [phased], [wave]),
            make_node("Mul", [wave, size], [moved]),
            make_node("Add", [pure, moved], [made]),
        ]
    del graph.node[:]
    graph.node.extend(nodes)


def _free_names(graph: onnx.GraphProto) -> Iterator[str]:
    """Names that nothing in the graph has."""
    taken = {t.name for t in graph.initializer} | {v.name for v in graph.input}
    for node in graph.node:
        taken.update(node.input, node.output, captured(node))
    return (name for name in map("moved_{}".format, itertools.count()) if name not in taken)


def bytes_of(model: onnx.ModelProto) -> int:
    """How large a model is, external data included."""
    external = sum(_external_bytes(t) for t in model.graph.initializer)
    return int(model.ByteSize() + external)


def data_of(target: Path) -> Path:
    """Where the weights of a noisy model are that were in files before."""
    return target.with_suffix(".data")


def remove_noisy(target: Path) -> None:
    """Remove a noisy model. Whoever has loaded it keeps what it has mapped."""
    target.unlink(missing_ok=True)
    data_of(target).unlink(missing_ok=True)


def coarsest_epsilon(model: onnx.ModelProto) -> float:
    """The largest ε among the types of the weights; 0 where there are none."""
    types = {tensor.data_type for _, tensor in _weights(model.graph)}
    spacings = (epsilon(onnx.helper.tensor_dtype_to_np_dtype(t)) for t in types)
    return max((s for s in spacings if s is not None), default=0.0)


def _external_bytes(tensor: onnx.TensorProto) -> int:
    external = tensor.data_location == onnx.TensorProto.EXTERNAL
    if not external:
        return 0
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    return int(np.prod(tensor.dims, dtype=np.float64)) * dtype.itemsize


def _weights(graph: onnx.GraphProto) -> Iterator[tuple[str, onnx.TensorProto]]:
    for tensor in graph.initializer:
        yield tensor.name, tensor
    for node in graph.node:
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.name == "value":
                    yield node.output[0], attribute.t


def _copy(
    tensor: onnx.TensorProto,
    folder: Path,
    out: IO[bytes],
    rng: np.random.Generator | None,
    least: float,
) -> None:
    """Copy a tensor's data from its file to another one, with noise where it is to have some."""
    entries = {e.key: e.value for e in tensor.external_data}
    place = folder / entries["location"]
    offset = int(entries.get("offset", 0))
    length = int(entries.get("length", place.stat().st_size - offset))
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    if rng is None or epsilon(dtype) is None or length % dtype.itemsize:
        dtype = np.dtype(np.uint8)
    start = out.tell()
    with place.open("rb") as data:
        data.seek(offset)
        left = length
        while left:
            chunk = data.read(min(left, CHUNK * dtype.itemsize))
            left -= len(chunk)
            if not chunk:
                raise ModelError(f"{place}: ends before the data of {tensor.name}")
            if rng is not None and dtype != np.uint8:
                chunk = noisy(np.frombuffer(chunk, dtype), rng, least).tobytes()
            out.write(chunk)
    point(tensor, Path(out.name).name, start, length)


def _perturb(tensor: onnx.TensorProto, rng: np.random.Generator, least: float) -> None:
    if epsilon(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)) is None:
        return
    values = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array(noisy(values, rng, least), tensor.name))
