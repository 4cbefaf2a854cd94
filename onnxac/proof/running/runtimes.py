"""The runtimes that models are timed in: one way to load a model into each, and to run it.

ONNX Runtime is there; OpenVINO is an extra. Nothing is proven in these: they optimize.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Protocol

import onnx

from onnxac.errors import UsageError
from onnxac.proof.running.signature import Model, to_bytes

ONNX_RUNTIME, OPENVINO = "onnxruntime", "openvino"
RUNTIMES = (ONNX_RUNTIME, OPENVINO)


class Session(Protocol):
    """A model that is loaded."""

    def run(self, names: None, feeds: Mapping[str, Any], /) -> object:
        """Infer once, all outputs. Raises whatever the runtime raises."""
        ...


class Runtime(Protocol):
    """A runtime on one of its devices."""

    @property
    def place(self) -> str:
        """How the report names it."""
        ...

    def load(self, model: Model, threads: int) -> Session:
        """Load a model for so many threads, 0 as the runtime likes; raises what that raises."""
        ...


def runtime_of(name: str, provider: str | None) -> Runtime:
    """The runtime of this name, on an execution provider, or a device, of it.

    Raises UsageError where it is not known or not installed, or has no such provider.
    """
    if name == ONNX_RUNTIME:
        return _OnnxRuntime(provider or "CPUExecutionProvider")
    if name == OPENVINO:
        return _OpenVino(provider or "CPU")
    raise UsageError(f"no runtime {name!r}; there are {', '.join(RUNTIMES)}")


def _require(provider: str, available: list[str]) -> None:
    if provider not in available:
        raise UsageError(f"no provider {provider!r} here; available: {', '.join(available)}")


class _OnnxRuntime:
    def __init__(self, provider: str) -> None:
        import onnxruntime as ort

        _require(provider, ort.get_available_providers())
        self.place = provider

    def load(self, model: Model, threads: int) -> Session:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Errors arrive as exceptions; the log would say them a second time.
        options.log_severity_level = 4
        source = to_bytes(model) if isinstance(model, onnx.ModelProto) else os.fspath(model)
        session: Session = ort.InferenceSession(source, options, providers=[self.place])
        return session


class _OpenVino:
    def __init__(self, device: str) -> None:
        try:
            import openvino
        except ImportError:
            raise UsageError('OpenVINO is not installed: pip install "onnxac[openvino]"') from None
        self._core = openvino.Core()
        _require(device, list(self._core.available_devices))
        self._device, self.place = device, f"OpenVINO {device}"

    def load(self, model: Model, threads: int) -> Session:
        source = to_bytes(model) if isinstance(model, onnx.ModelProto) else os.fspath(model)
        settings = {"PERFORMANCE_HINT": "LATENCY"}
        if threads:
            settings["INFERENCE_NUM_THREADS"] = str(threads)
        compiled = self._core.compile_model(self._core.read_model(source), self._device, settings)
        return _Request(compiled.create_infer_request())


class _Request:
    def __init__(self, request: Any) -> None:
        self._request = request

    def run(self, names: None, feeds: Mapping[str, Any], /) -> object:
        return self._request.infer(dict(feeds))
