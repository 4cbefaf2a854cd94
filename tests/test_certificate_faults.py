"""Each fault that is planted in a fused model is caught by its certificate, every time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cli_harness import MODELS, onnxac
from planting import FAULTS, Fault, fused, one_weight

from onnxac.proof.certificate import certify
from onnxac.report import FAILS
from onnxac.storage.files import read

TRIES = 100


@pytest.mark.parametrize(("fault", "export"), FAULTS, ids=[f"{f.__name__}-{e}" for f, e in FAULTS])
def test_each_planted_fault_is_caught(fault: Fault, export: str) -> None:
    before, after, fusions = fused(MODELS / f"onnx/{export}.onnx")
    rng = np.random.default_rng(1)
    named = [(f, n.name) for f in fusions for n in f.added if n.op == "Conv"]
    fusion, name = next(p for p in named if any(fault(after, p[1], rng) for _ in range(9)))
    caught = tried = 0
    while tried < TRIES:
        broken = fault(after, name, rng)
        if broken is None:
            continue
        tried += 1
        caught += any(c.verdict == FAILS for c in certify(before, broken, [fusion]))
    assert caught == TRIES


# The command.


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    folder = tmp_path_factory.mktemp("certify")
    source, target, report = MODELS / "onnx/repvgg/D.onnx", folder / "o.onnx", folder / "r.json"
    assert onnxac("optimize", source, target, "--report", report).code == 0
    return source, target, report


def test_the_command_certifies_from_files(written: tuple[Path, Path, Path]) -> None:
    source, target, report = written
    ran = onnxac("certify", source, target, "--report", report, "-v")
    assert ran.code == 0, ran.stderr
    assert "4 of 4 changes certified" in ran.out
    assert ran.out.count("✓") == 5


def test_the_command_catches_a_changed_file(
    written: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    source, target, report = written
    after = read(target)
    name = next(n.name for n in after.graph.node if n.op_type == "Conv")
    broken = one_weight(after, name, np.random.default_rng(0))
    assert broken is not None
    changed = tmp_path / "changed.onnx"
    changed.write_bytes(broken.SerializeToString())
    ran = onnxac("certify", source, changed, "--report", report)
    assert ran.code == 1
    assert "3 of 4 changes certified, 1 wrong" in ran.out
    assert "is not the file that" in ran.stderr


def test_the_command_wants_a_report(written: tuple[Path, Path, Path], tmp_path: Path) -> None:
    source, target, _ = written
    wrong = tmp_path / "wrong.json"
    wrong.write_text("[]")
    for given in (wrong, tmp_path / "missing.json"):
        ran = onnxac("certify", source, target, "--report", given)
        assert ran.code == 2
        assert ran.stderr.count("\n") == 1
