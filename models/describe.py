"""Validate an .onnx file and describe it in one record of INDEX.json."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

ROOT = Path(__file__).parent
Record = dict[str, Any]
DYNAMIC_SIZE = {0: 2, 1: 18, 2: 22, 3: 20}  # per axis, where a model leaves it open


def session(path: Path) -> onnxruntime.InferenceSession:
    """Open `path` with every optimization of ONNX Runtime off: the file itself is what runs."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def feeds_for(path: Path, like: Path | None = None) -> dict[str, np.ndarray]:
    """Draw seeded float inputs for `path`; sizes that it leaves open are those of `like`."""
    generator = np.random.default_rng(7)
    feeds = {}
    inputs = session(path).get_inputs()
    others = session(like).get_inputs() if like is not None else inputs
    for value, other in zip(inputs, others, strict=True):
        shape = [
            next((size for size in sizes if isinstance(size, int)), DYNAMIC_SIZE.get(axis, 9))
            for axis, sizes in enumerate(zip(value.shape, other.shape, strict=True))
        ]
        feeds[value.name] = generator.standard_normal(shape).astype(np.float32)
    return feeds


def run(path: Path, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Run `path`; inputs are matched by position, since deploy forms may name them otherwise."""
    opened = session(path)
    names = [value.name for value in opened.get_inputs()]
    return opened.run(None, dict(zip(names, feeds.values(), strict=True)))


def relative_error(actual: list[np.ndarray], expected: list[np.ndarray]) -> float:
    """Return the largest difference, relative to each output's largest magnitude."""
    errors = [0.0]
    for a, e in zip(actual, expected, strict=True):
        if a.shape != e.shape or not np.isfinite(a).all():
            raise AssertionError(f"outputs differ in shape or are not finite: {a.shape}, {e.shape}")
        errors.append(float(np.abs(a.astype(np.float64) - e).max() / np.abs(e).max()))
    return max(errors)


def describe(
    path: Path, block: str, flavour: str, deploy: Path | None, *, inferable: bool = True
) -> Record:
    """Check and run `path`, compare it with its deploy form, and describe it.

    inferable  the shapes that the file tells have to be those that are inferred
    """
    model = onnx.load(path, load_external_data=False)
    onnx.checker.check_model(model, full_check=inferable)
    initializers = {tensor.name for tensor in model.graph.initializer}
    feeds = feeds_for(path, deploy)
    outputs = run(path, feeds)
    record: Record = {
        "file": path.relative_to(ROOT).as_posix(),
        "block": block,
        "flavour": flavour,
        "opset": {entry.domain or "ai.onnx": entry.version for entry in model.opset_import},
        "nodes": len(model.graph.node),
        "ops": dict(Counter(node.op_type for node in model.graph.node).most_common()),
        "inputs": {
            value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
            for value in model.graph.input
            if value.name not in initializers
        },
        "bytes": path.stat().st_size,
    }
    if deploy is not None:
        error = relative_error(run(deploy, feeds), outputs)
        if error >= 1e-5:
            raise AssertionError(f"{path.name} and {deploy.name} differ by {error:.1e}")
        record["deploy"] = deploy.relative_to(ROOT).as_posix()
    return record


def merge_into_index(records: list[Record]) -> None:
    """Replace the records of these files in INDEX.json, drop those of files that are gone."""
    path = ROOT / "INDEX.json"
    known = json.loads(path.read_text()) if path.exists() else []
    table = {record["file"]: record for record in [*known, *records]}
    kept = [table[file] for file in sorted(table) if (ROOT / file).exists()]
    lines = ",\n".join(json.dumps(record) for record in kept)
    path.write_text(f"[\n{lines}\n]\n")
