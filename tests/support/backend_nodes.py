"""ONNX's own node tests: each operator's examples, with inputs and the outputs that are right."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import onnxruntime as ort
from onnx import ModelProto, TensorProto, numpy_helper
from onnx.backend.test.loader import load_model_tests
from onnx.reference import ReferenceEvaluator

# What a variant of a case turns into initializers.
FROZEN = ("nothing", "all but the first", "everything")


@dataclass(frozen=True)
class Case:
    """One of onnx's examples; inputs and outputs are arrays, or lists of them, or None."""

    name: str
    model: ModelProto
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]
    rtol: float
    atol: float

    def frozen(self, what: str) -> tuple[ModelProto, dict[str, Any]] | None:
        """The model with inputs as initializers, and what is left to feed; None where none is."""
        model = ModelProto()
        model.CopyFrom(self.model)
        feeds: dict[str, Any] = {}
        for number, value in enumerate(self.model.graph.input):
            array = self.inputs[number]
            stays = what == "nothing" or (what == "all but the first" and number == 0)
            if stays or not value.type.HasField("tensor_type") or not isinstance(array, np.ndarray):
                feeds[value.name] = array
            else:
                model.graph.initializer.append(numpy_helper.from_array(array, value.name))
        if what != "nothing" and len(feeds) == len(self.model.graph.input):
            return None
        if self.model.ir_version >= 4:
            # Before, an initializer has to be a graph input as well.
            left = [i for i in model.graph.input if i.name in feeds]
            del model.graph.input[:]
            model.graph.input.extend(left)
        return model, feeds


@lru_cache(maxsize=1)
def cases() -> tuple[Case, ...]:
    """All of them; made by onnx itself, in memory."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return tuple(_case(c) for c in load_model_tests(kind="node"))


def _case(case: Any) -> Case:
    inputs, outputs = (tuple(_value(v) for v in side) for side in case.data_sets[0])
    return Case(case.name, case.model, inputs, outputs, case.rtol, case.atol)


def _value(value: Any) -> Any:
    return numpy_helper.to_array(value) if isinstance(value, TensorProto) else value


def runs(model: ModelProto, feeds: dict[str, Any]) -> Iterator[list[Any]]:
    """The outputs by each engine that can run the model: ONNX Runtime, onnx's own evaluator."""
    for engine in (_by_runtime, _by_reference):
        try:
            yield engine(model, feeds)
        except Exception:
            continue


def _by_runtime(model: ModelProto, feeds: dict[str, Any]) -> list[Any]:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return list(session.run(None, feeds))


def _by_reference(model: ModelProto, feeds: dict[str, Any]) -> list[Any]:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return list(ReferenceEvaluator(model).run(None, feeds))


def agree(have: Sequence[Any], want: Sequence[Any], rtol: float, atol: float) -> bool:
    """Whether outputs are the same values of the same types and shapes, up to a tolerance."""
    return len(have) == len(want) and all(
        _agree(h, w, rtol, atol) for h, w in zip(have, want, strict=True)
    )


def _agree(have: Any, want: Any, rtol: float, atol: float) -> bool:
    if isinstance(want, list) or isinstance(have, list):
        return isinstance(want, list) and isinstance(have, list) and agree(have, want, rtol, atol)
    if want is None or have is None:
        return have is want
    have, want = np.asarray(have), np.asarray(want)
    if have.shape != want.shape or have.dtype != want.dtype:
        return False
    if want.dtype.kind in "OSUb":
        return bool(np.array_equal(have.astype(str), want.astype(str)))
    wide = np.complex128 if want.dtype.kind == "c" else np.float64
    return bool(np.allclose(have.astype(wide), want.astype(wide), rtol, atol, equal_nan=True))
