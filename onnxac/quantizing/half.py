"""A model in half precision, by ONNX Runtime's own converter.

Inputs and outputs keep their types. Operators that have no half precision in ONNX Runtime stay as
they are, between Casts. Values beyond 65504 are cut off, and such below 6e-8 raised to it, so what
comes out has to be proven like anything else.
"""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import ModelProto

from onnxac.errors import ModelError


def to_half(model: ModelProto, folder: Path | None) -> ModelProto:
    """The model in float16, with all its data in memory; `model` itself is not changed.

    folder  where its external data lies

    Raises ModelError where the converter can't do it.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    told = {v.name for v in model.graph.value_info}
    # The converter has to know where floats are. Weights that lie in files play no part in that.
    typed = onnx.shape_inference.infer_shapes(model)
    if folder is not None:
        onnx.load_external_data_for_model(typed, str(folder))
    try:
        half: ModelProto = convert_float_to_float16(
            typed, keep_io_types=True, disable_shape_infer=True
        )
    except (ValueError, RuntimeError) as error:
        raise ModelError(f"can't be converted to fp16: {error}") from error
    # The Casts of inputs come last in what the converter makes.
    OnnxModel.graph_topological_sort(half.graph)
    kept = [v for v in half.graph.value_info if v.name in told]
    del half.graph.value_info[:]
    half.graph.value_info.extend(kept)
    return half
