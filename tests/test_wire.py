"""Large models: their weights stay in files, and come out bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from exact import feeds, run
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import ModelProto, TensorProto, numpy_helper
from test_files import acnet, names

from onnxac.errors import ModelError
from onnxac.pipeline import Options, inspect, optimize_file
from onnxac.proof import verify
from onnxac.proof.judging.noise import data_of, remove_noisy, write_noisy
from onnxac.storage import draft, wire
from onnxac.storage.draft import Draft
from onnxac.storage.files import external_tensors, is_single, read, read_lazily


@pytest.fixture(autouse=True)
def every_file_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "LARGE_FILE", 0)
    monkeypatch.setattr(wire, "LARGE_TENSOR", 1024)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    model = acnet()
    model.metadata_props.add(key="author", value="me")
    model.graph.initializer[1].doc_string = "one tap"
    onnx.save(model, tmp_path / "in.onnx")
    return tmp_path / "in.onnx"


def test_weights_are_left_in_the_file(source: Path) -> None:
    skimmed, whole = wire.skim(source), onnx.load(source)
    left = {t.name for t in external_tensors(skimmed)}
    assert left == {t.name for t in whole.graph.initializer if len(t.raw_data) >= 1024}
    for have, want in zip(skimmed.graph.initializer, whole.graph.initializer, strict=True):
        values = numpy_helper.to_array(have, str(source.parent))
        assert np.array_equal(values, numpy_helper.to_array(want))
    del skimmed.graph.initializer[:], whole.graph.initializer[:]
    assert skimmed == whole


def test_there_and_back(source: Path, tmp_path: Path) -> None:
    """Nothing but the order of fields may change, and that has no meaning."""
    with Draft(tmp_path / "out.onnx") as made:
        assert made.write(read_lazily(source), tmp_path, single=True)
        made.commit()
    assert onnx.load(tmp_path / "out.onnx") == onnx.load(source)
    assert names(tmp_path) == {"in.onnx", "out.onnx"}


def test_a_large_file_is_optimized(source: Path, tmp_path: Path) -> None:
    report = optimize_file(source, tmp_path / "out.onnx")
    assert report.verification is not None
    assert report.verification.passed
    assert names(tmp_path) == {"in.onnx", "out.onnx"}
    after = onnx.load(tmp_path / "out.onnx")
    assert not list(external_tensors(after))
    values = feeds(onnx.load(source))
    assert np.array_equal(run(after, values)[0], run(onnx.load(source), values)[0])
    assert len(inspect(source).fusions) == len(report.fusions)


def test_a_large_file_is_replaced_by_itself(source: Path, tmp_path: Path) -> None:
    values, before = feeds(onnx.load(source)), onnx.load(source)
    (tmp_path / "link.onnx").symlink_to("in.onnx")
    optimize_file(tmp_path / "link.onnx", tmp_path / "link.onnx")
    assert np.array_equal(run(onnx.load(source), values)[0], run(before, values)[0])


def test_what_is_too_large_for_one_file(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draft, "LARGEST_FILE", 8000)
    told: list[str] = []
    target = tmp_path / "out.onnx"
    optimize_file(source, target, Options(notice=told.append))
    assert told == [f"{target}: larger than 2 GB in one file, so its data lies beside it"]
    assert not is_single(read(target), target)
    values = feeds(onnx.load(source))
    assert np.array_equal(run(onnx.load(target), values)[0], run(onnx.load(source), values)[0])


@pytest.mark.parametrize("keep", [0.2, 0.5, 0.9, 0.999])
def test_a_file_that_is_cut_short(source: Path, keep: float) -> None:
    data = source.read_bytes()
    source.write_bytes(data[: int(keep * len(data))])
    with pytest.raises(ModelError, match="cut short"):
        read_lazily(source)


@pytest.mark.parametrize("data", [b"\x0b", b"\xff" * 20, b"\x3a\x05\x00", b"\x00\x01"])
def test_what_is_no_message(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(data)
    with pytest.raises((DecodeError, ModelError)):
        read_lazily(path)


def test_noise_goes_through_files(source: Path, tmp_path: Path) -> None:
    """The same noise as in memory, and nothing is left of it."""
    skimmed, whole = wire.skim(source), onnx.load(source)
    assert write_noisy(skimmed, source.parent, tmp_path / "a.onnx", 1)
    assert write_noisy(whole, source.parent, tmp_path / "b.onnx", 1)
    loaded = [onnx.load(tmp_path / n) for n in ("a.onnx", "b.onnx")]
    for have, want, plain in zip(*(m.graph.initializer for m in [*loaded, whole]), strict=True):
        assert np.array_equal(numpy_helper.to_array(have), numpy_helper.to_array(want))
        assert have.dims == plain.dims
    for name in ("a.onnx", "b.onnx"):
        remove_noisy(tmp_path / name)
        assert not data_of(tmp_path / name).exists()
    assert names(tmp_path) == {"in.onnx"}


def test_the_proof_of_large_files_sees_a_difference(source: Path, tmp_path: Path) -> None:
    model: ModelProto = onnx.load(source)
    tensor = next(t for t in model.graph.initializer if t.name == "w5")
    values = numpy_helper.to_array(tensor).copy()
    values.flat[0] += 1
    tensor.CopyFrom(numpy_helper.from_array(values, "w5"))
    assert tensor.data_type == TensorProto.FLOAT
    onnx.save(model, tmp_path / "other.onnx")
    assert verify(source, source).passed
    assert not verify(source, tmp_path / "other.onnx").passed
