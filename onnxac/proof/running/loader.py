"""Puts models into the worker: both, noisy ones, that in float64, and probed ones."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import onnx

from onnxac.errors import RuntimeFailure, VerificationError
from onnxac.proof.case import Case
from onnxac.proof.judging.compare import EPSILON
from onnxac.proof.judging.judge import AFTER, BEFORE, FLOAT64
from onnxac.proof.judging.noise import (
    bytes_of,
    coarsest_epsilon,
    remove_noisy,
    write_noisy,
)
from onnxac.proof.running.process import Rejection, Worker
from onnxac.proof.running.signature import to_bytes
from onnxac.proof.settings import Settings
from onnxac.report.places import all_nodes
from onnxac.storage.wire import is_large

ONNX_RUNTIME, REFERENCE, IN_FLOAT64 = "onnxruntime", "reference", "float64"
# A model in float64 is held in memory, whole, and several times as large as it was.
WIDENED_BYTES = 1 << 30


class Loader:
    """Loads models of a case from its files, or from copies in a folder.

    subjects  what is compared; tensors inside become outputs of every model that is loaded
    """

    def __init__(self, worker: Worker, case: Case, folder: Path, settings: Settings) -> None:
        self._worker, self._case, self._folder, self._settings = worker, case, folder, settings
        self._backend = ONNX_RUNTIME
        self.subjects = case.subjects(inside=settings.compares_inside)

    @property
    def runtime(self) -> str:
        """What the models run in, for the report."""
        if self._backend == ONNX_RUNTIME:
            return f"onnxruntime {self._worker.version}, CPU, optimizations off"
        return (
            f"onnx {onnx.__version__} reference evaluator "
            f"(onnxruntime {self._worker.version} lacks an operator or a type of the model)"
        )

    def load_both(self) -> str:
        """Load both models into the runtime that has the first's operators.

        Returns why they can't be run, where an operator is unknown; raises otherwise.
        """
        # NumPy's own types only: ONNX Runtime neither takes nor gives bfloat16 and float8 arrays.
        signature = self._case.signature
        foreign = any(p.dtype.kind == "V" for p in (*signature.inputs, *signature.outputs))
        self._backend = REFERENCE if foreign else ONNX_RUNTIME
        rejected = self._load(BEFORE)
        if rejected and self._backend == ONNX_RUNTIME:
            first = rejected
            self._backend = REFERENCE
            rejected = self._load(BEFORE) if rejected.unimplemented else rejected
            if rejected and first.unknown:
                self._backend = ONNX_RUNTIME
                return f"it has an operator that ONNX Runtime does not know: {first.reason}"
        names = self._settings.names
        if rejected:
            raise RuntimeFailure(f"{names[0]} itself does not run: {rejected.reason}")
        rejected = self._load(AFTER)
        if rejected:
            raise VerificationError(f"{names[1]} does not load: {rejected.reason}")
        return ""

    def _load(self, key: str) -> Rejection | None:
        inside = [s for s in self.subjects if s.inside]
        extra = [s.pair.first if key == BEFORE else s.pair.second for s in inside]
        return self._put(key, key, extra)

    def _put(self, model: str, key: str, extra: Sequence[str]) -> Rejection | None:
        """Load one of the two models under a key, with tensors inside as further outputs."""
        first = model == BEFORE
        side = self._case.a if first else self._case.b
        source = self._case.sources[0 if first else 1]
        renamed = {} if first else self._case.inputs
        libraries = self._settings.custom_ops
        # The weights of a large original are mapped, where they lie. The other one is loaded as it
        # is on the disk, since that is what is to be proven.
        mapped = first and source is not None and is_large(source)
        if source is not None and not extra and not mapped:
            return self._worker.load(
                key, source, self._backend, libraries=libraries, renamed=renamed
            )
        path = self._folder / f"{key}.onnx"
        in_files = _lies_in_files(side.model)
        if source is not None and not is_large(source):
            shutil.copyfile(source, path)
            _append_outputs(path, side.model, extra)
        else:
            path.write_bytes(to_bytes_with(side.model, extra, is_file=source is not None))
        return self._worker.load(
            key,
            path,
            self._backend,
            folder=side.folder.resolve() if source is not None and in_files else None,
            libraries=libraries,
            renamed=renamed,
        )

    def further(self, key: str) -> bool:
        """Load the first model with noise, or in float64; whether that could be done."""
        model, folder = self._case.a.model, self._case.a.folder.resolve()
        path = self._folder / f"{key}.onnx"
        if key == FLOAT64:
            if bytes_of(model) > WIDENED_BYTES:
                return False
            inside = [s.pair.first for s in self.subjects if s.inside]
            path.write_bytes(to_bytes_with(model, inside, is_file=True))
            return self._worker.load(key, path, IN_FLOAT64, folder=folder) is None
        # Half precision is rounded to its own digits, of which a small value has as many.
        single = coarsest_epsilon(model) == EPSILON["float32"]
        return (single and self._noisy(key, model, path, results=True)) or self._noisy(
            key, model, path, results=False
        )

    def _noisy(self, key: str, model: onnx.ModelProto, path: Path, *, results: bool) -> bool:
        """Write and load a noisy copy of the first model; whether the runtime takes it."""
        seed, least = int(key.rsplit(" ", 1)[1]), self._settings.spacing
        folder = self._case.a.folder
        written = write_noisy(model, folder, path, seed, least, results=results)
        if written:
            _append_outputs(path, model, [s.pair.first for s in self.subjects if s.inside])
        libraries = self._settings.custom_ops
        loaded = (
            written and self._worker.load(key, path, self._backend, libraries=libraries) is None
        )
        # It is in memory now, or mapped: the disk need not hold two of them.
        remove_noisy(path)
        return loaded

    def probed(self, model: str, key: str, names: Sequence[str]) -> bool:
        """Load one of the two models with tensors inside as outputs, for a diagnosis."""
        return self._put(model, key, names) is None


def to_bytes_with(model: onnx.ModelProto, extra: Sequence[str], *, is_file: bool) -> bytes:
    """The model as bytes, with tensors inside as further outputs.

    is_file  external data may stay where it is
    """
    own = bytes(model.SerializeToString()) if is_file else to_bytes(model)
    return own + _further_outputs(model, extra)


def _lies_in_files(model: onnx.ModelProto) -> bool:
    """Whether data of a model lies in other files."""
    nodes = (*model.graph.node, *(n for f in model.functions for n in f.node))
    attributes = [a for n in all_nodes(nodes) for a in n.attribute]
    graphs = (model.graph, *(g for a in attributes for g in (a.g, *a.graphs)))
    held = (t for a in attributes for t in (a.t, *a.tensors))
    tensors = (*held, *(t for g in graphs for t in g.initializer))
    return any(t.data_location == onnx.TensorProto.EXTERNAL for t in tensors)


def _append_outputs(path: Path, model: onnx.ModelProto, names: Sequence[str]) -> None:
    """Make tensors inside a model further outputs of its file."""
    with path.open("ab") as file:
        file.write(_further_outputs(model, names))


def _further_outputs(model: onnx.ModelProto, names: Sequence[str]) -> bytes:
    """What makes tensors inside a model further outputs, behind the bytes of it.

    Of two messages one after the other, protobuf reads the fields of both.
    """
    known = {v.name for v in model.graph.output}
    graph = onnx.GraphProto()
    graph.output.extend(onnx.ValueInfoProto(name=n) for n in dict.fromkeys(names) if n not in known)
    return bytes(onnx.ModelProto(graph=graph).SerializeToString()) if graph.output else b""
