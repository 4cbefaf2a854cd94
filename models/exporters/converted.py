"""Exports of other frameworks after a conversion to float16, and after other optimizers.

pip install -r models/exporters/requirements-converted.txt
python models/exporters/converted.py
"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxsim
import onnxslim
from exported import (
    AFTER,
    ROOT,
    Record,
    describe,
    feeds_for,
    merge_into_index,
    relative_error,
    run,
)
from onnx import ModelProto
from onnxconverter_common import float16

SOURCES = ("paddle2onnx", "keras_tf")


def simplified(model: ModelProto) -> ModelProto:
    result, checked = onnxsim.simplify(model)
    if not checked:
        raise AssertionError("onnxsim's own check failed")
    return result


# The suffix of the flavour, the conversion, nodes that it adds, and the error that it may make.
CONVERSIONS: tuple[tuple[str, Callable[[ModelProto], ModelProto], int, float], ...] = (
    ("f16", lambda m: float16.convert_float_to_float16(m, keep_io_types=True), 2, 2e-2),
    ("onnxsim", simplified, 0, 1e-5),
    ("onnxslim", onnxslim.slim, 0, 1e-5),
)


def converted(record: Record) -> list[Record]:
    """All conversions of one export."""
    source = ROOT / record["file"]
    feeds: dict[str, np.ndarray] = feeds_for(source)
    made = []
    for suffix, convert, added, bound in CONVERSIONS:
        flavour = f"{record['flavour']}.{suffix}"
        path: Path = source.with_name(f"{flavour}.onnx")
        onnx.save(convert(onnx.load(source)), path)
        error = relative_error(run(path, feeds), run(source, feeds))
        if error >= bound:
            raise AssertionError(f"{path.name} is {error:.1e} off {source.name}")
        after = dict(record["after"])
        after["nodes"] += added
        made.append(describe(path, record["block"], flavour, None) | {"after": after})
        print(f"{path.parent.name}: {flavour}, {made[-1]['nodes']} nodes, error {error:.1e}")
    return made


if __name__ == "__main__":
    index = json.loads((ROOT / "INDEX.json").read_text())
    chosen = [r for r in index if r["block"] in AFTER and r["flavour"] in SOURCES]
    merge_into_index([made for record in chosen for made in converted(record)])
