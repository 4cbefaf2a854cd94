"""Writing: the target appears whole and proven, or not at all, and the old file stays."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from exact import feeds, operators, run
from onnx import ModelProto, TensorProto, helper, numpy_helper

from onnxac.errors import ModelError, OutputError, VerificationError
from onnxac.graph.files import Draft, data_range, read
from onnxac.pipeline import Options, optimize, optimize_file

QUICK = Options(verify=False)


def acnet() -> ModelProto:
    """Two branches, and behind a Relu a convolution that nobody touches."""
    rng = np.random.default_rng(1)
    weights = {
        "w3": rng.integers(-2, 3, (8, 8, 3, 3)),
        "w1": rng.integers(-2, 3, (8, 8, 1, 1)),
        "w5": rng.integers(-1, 2, (8, 8, 5, 5)),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w3"], ["a"], pads=[1] * 4),
        helper.make_node("Conv", ["x", "w1"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["sum"]),
        helper.make_node("Relu", ["sum"], ["r"]),
        helper.make_node("Conv", ["r", "w5"], ["y"], pads=[2] * 4),
    ]
    info = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 8, 5, 5]) for n in ("x", "y")]
    tensors = [numpy_helper.from_array(w.astype(np.float32), n) for n, w in weights.items()]
    graph = helper.make_graph(nodes, "g", info[:1], info[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    onnx.save(acnet(), tmp_path / "in.onnx")
    return tmp_path / "in.onnx"


@pytest.fixture
def external(tmp_path: Path) -> Path:
    path = tmp_path / "ext.onnx"
    onnx.save(acnet(), path, save_as_external_data=True, location="ext.bin", size_threshold=0)
    return path


def names(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()}


def same_results(before: Path, after: Path) -> None:
    old, new = onnx.load(before), onnx.load(after)
    assert operators(new) == {"Conv": 2, "Relu": 1}
    values = feeds(old)
    assert np.array_equal(run(new, values)[0], run(old, values)[0])


# Whole.


def test_one_file(source: Path, tmp_path: Path) -> None:
    report = optimize_file(source, tmp_path / "out.onnx", QUICK)
    assert names(tmp_path) == {"in.onnx", "out.onnx"}
    assert report.changed
    same_results(source, tmp_path / "out.onnx")


def test_in_place(source: Path) -> None:
    before = source.with_name("copy.onnx")
    before.write_bytes(source.read_bytes())
    optimize_file(source, source, QUICK)
    same_results(before, source)


def test_data_goes_beside_it(external: Path, tmp_path: Path) -> None:
    target = tmp_path / "out" / "model.onnx"
    target.parent.mkdir()
    optimize_file(external, target, QUICK)
    assert names(target.parent) == {"model.onnx", "model.onnx.data"}
    same_results(external, target)


def test_in_place_with_data(external: Path, tmp_path: Path) -> None:
    """Someone else's data file stays; ours has a name of its own."""
    optimize_file(external, external, QUICK)
    assert names(tmp_path) == {"ext.onnx", "ext.bin", "ext.onnx.data"}
    assert operators(onnx.load(external)) == {"Conv": 2, "Relu": 1}


def test_again_and_again(external: Path, tmp_path: Path) -> None:
    """Old data of ours is cleared away, and never overwritten while the old model needs it."""
    target = tmp_path / "out.onnx"
    seen = set()
    for _ in range(3):
        optimize_file(external, target, QUICK)
        same_results(external, target)
        (data,) = names(tmp_path) - {"ext.onnx", "ext.bin", "out.onnx"}
        seen.add(data)
    assert seen == {"out.onnx.data", "out.onnx.1.data"}


def test_weights_are_aligned(external: Path, tmp_path: Path) -> None:
    optimize_file(external, tmp_path / "out.onnx", QUICK)
    model = onnx.load(tmp_path / "out.onnx", load_external_data=False)
    for tensor in model.graph.initializer:
        _, offset, length = data_range(tensor, tmp_path)
        assert offset % 4096 == 0
        assert length == np.prod(tensor.dims) * 4


def test_permissions_are_those_of_any_new_file(source: Path, tmp_path: Path) -> None:
    optimize_file(source, tmp_path / "out.onnx", QUICK)
    plain = tmp_path / "plain"
    plain.touch()
    modes = [stat.S_IMODE(p.stat().st_mode) for p in (plain, tmp_path / "out.onnx")]
    assert modes[0] == modes[1]


def test_a_model_in_memory_has_its_data_at_hand(external: Path) -> None:
    with pytest.raises(ModelError):
        optimize(onnx.load(external, load_external_data=False), QUICK)


# Not at all.


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A target that is there already."""
    target = tmp_path / "out.onnx"
    target.write_bytes(b"the old file")
    return target


def assert_untouched(old: Path, *others: str) -> None:
    assert old.read_bytes() == b"the old file"
    assert names(old.parent) == {old.name, *others}


def test_a_mismatch_writes_nothing(
    source: Path, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> np.ndarray:
        return np.ones((8, 8, 3, 3))

    monkeypatch.setattr("onnxac.algebra.kernel.place", broken)
    with pytest.raises(VerificationError):
        optimize_file(source, old)
    assert_untouched(old, "in.onnx")


def test_an_error_on_the_way_writes_nothing(
    external: Path, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        optimize_file(external, old, QUICK)
    assert_untouched(old, "ext.onnx", "ext.bin")


def test_an_interrupt_writes_nothing(
    source: Path, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("onnxac.pipeline.survey", stop)
    with pytest.raises(KeyboardInterrupt):
        optimize_file(source, old, QUICK)
    assert_untouched(old, "in.onnx")


def test_a_bad_source_writes_nothing(old: Path) -> None:
    with pytest.raises(ModelError):
        optimize_file(old.with_name("missing.onnx"), old, QUICK)
    assert_untouched(old)


def test_a_folder_that_is_not_there(source: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="create it first"):
        optimize_file(source, tmp_path / "nowhere" / "out.onnx", QUICK)


def test_a_target_that_is_a_folder(source: Path, tmp_path: Path) -> None:
    (tmp_path / "out.onnx").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        optimize_file(source, tmp_path / "out.onnx", QUICK)


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o500)
    yield folder
    folder.chmod(0o700)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="everything may be written")
def test_a_folder_that_can_not_be_written_fails_early(
    source: Path, locked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onnxac.pipeline.survey", lambda *_: pytest.fail("too late"))
    with pytest.raises(OutputError):
        optimize_file(source, locked / "out.onnx", QUICK)


def test_a_draft_that_is_not_committed_leaves_nothing(tmp_path: Path, external: Path) -> None:
    with Draft(tmp_path / "out.onnx") as draft:
        draft.write(read(external), tmp_path)
        assert operators(onnx.load(draft.path))["Conv"] == 3
    assert names(tmp_path) == {"ext.onnx", "ext.bin"}
