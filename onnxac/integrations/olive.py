"""A pass for Microsoft Olive: `"type": "OnnxacFusion"` in a workflow.

Olive finds it by the package configuration beside this file; `package_config()` is its path.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

from olive.model import ONNXModelHandler
from olive.model.utils import resolve_onnx_path
from olive.passes import Pass
from olive.passes.pass_config import PassConfigParam

from onnxac.options import Options
from onnxac.pipeline import optimize_file


def package_config() -> Path:
    """The file for `olive run --package-config`, or `olive.workflows.run(package_config=…)`."""
    return Path(str(files(__package__).joinpath("olive.json")))


class OnnxacFusion(Pass):
    """Merges the branches of re-parameterizable networks, and proves the result."""

    @classmethod
    def _default_config(cls, accelerator_spec: Any) -> dict[str, PassConfigParam]:
        return {
            "keep": PassConfigParam(
                type_=list[str], default_value=[], description="Name patterns of nodes to keep."
            ),
            "equalize": PassConfigParam(
                type_=bool, default_value=False, description="Even out ranges, for 8-bit integers."
            ),
            "seeds": PassConfigParam(
                type_=int, default_value=3, description="Random inputs that the proof runs."
            ),
        }

    def _run_for_config(
        self, model: ONNXModelHandler, config: Any, output_model_path: str
    ) -> ONNXModelHandler:
        source = Path(model.model_path)
        target = Path(resolve_onnx_path(output_model_path, source.name))
        target.parent.mkdir(parents=True, exist_ok=True)
        options = Options(keep=tuple(config.keep), equalize=config.equalize, seeds=config.seeds)
        optimize_file(source, target, options)
        return ONNXModelHandler(model_path=str(target))
