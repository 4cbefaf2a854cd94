"""Writing: the target appears whole and proven, or not at all, and the old file stays."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from exact import feeds, operators, run
from onnx import ModelProto, TensorProto, helper, numpy_helper

from onnxac import stages
from onnxac.errors import ModelError, OutputError, VerificationError
from onnxac.graph.model import assemble
from onnxac.pipeline import Options, optimize, optimize_file
from onnxac.storage.disk import PREFIX, Workspace
from onnxac.storage.draft import Draft
from onnxac.storage.files import data_range, external_tensors, read, read_lazily

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


def data_files(path: Path) -> set[str]:
    model = onnx.load(path, load_external_data=False)
    return {
        e.value for t in external_tensors(model) for e in t.external_data if e.key == "location"
    }


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
    (data,) = names(target.parent) - {"model.onnx"}
    assert re.fullmatch(r"model\.onnx\.[0-9a-f]{16}\.data", data)
    same_results(external, target)


def test_in_place_with_data(external: Path, tmp_path: Path) -> None:
    """The data file that was there stays; ours has a name of its own."""
    optimize_file(external, external, QUICK)
    (data,) = names(tmp_path) - {"ext.onnx", "ext.bin"}
    assert data_files(external) == {data}
    assert operators(onnx.load(external)) == {"Conv": 2, "Relu": 1}


def test_data_that_another_model_reads_stays(tmp_path: Path) -> None:
    """A backup, a copy under another name: nobody can know who reads a data file."""
    source, backup = tmp_path / "model.onnx", tmp_path / "backup.onnx"
    onnx.save(acnet(), source, save_as_external_data=True, location="model.onnx.data")
    backup.write_bytes(source.read_bytes())
    told: list[str] = []
    optimize_file(source, source, replace(QUICK, notice=told.append))
    same_results(backup, source)
    assert told == [
        f"{tmp_path / 'model.onnx.data'} is left, since another model may read it; "
        f"{source} does no longer"
    ]


def test_data_of_ours_stays_as_well(external: Path, tmp_path: Path) -> None:
    """The second run is another process: what the first one made may have been copied."""
    target, backup = tmp_path / "out.onnx", tmp_path / "backup.onnx"
    optimize_file(external, target, QUICK)
    backup.write_bytes(target.read_bytes())
    told: list[str] = []
    optimize_file(external, target, replace(QUICK, notice=told.append))
    same_results(external, backup)
    same_results(external, target)
    assert data_files(backup).isdisjoint(data_files(target))
    assert len(told) == 1


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
    """A mismatch that no leaving out of changes mends: it is not theirs."""
    right = assemble

    def broken(*args: Any, **more: Any) -> ModelProto:
        made = right(*args, **more)
        name = made.graph.output[0].name
        (maker,) = [n for n in made.graph.node if name in n.output]
        maker.output[0] = "before"
        made.graph.node.append(helper.make_node("Neg", ["before"], [name]))
        return made

    monkeypatch.setattr(stages, "assemble", broken)
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

    monkeypatch.setattr("onnxac.stages.survey", stop)
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
    monkeypatch.setattr("onnxac.stages.survey", lambda *_: pytest.fail("too late"))
    with pytest.raises(OutputError):
        optimize_file(source, locked / "out.onnx", QUICK)


def test_a_draft_that_is_not_committed_leaves_nothing(tmp_path: Path, external: Path) -> None:
    with Draft(tmp_path / "out.onnx") as draft:
        draft.write(read(external), tmp_path, single=False)
        assert operators(onnx.load(draft.path))["Conv"] == 3
    assert names(tmp_path) == {"ext.onnx", "ext.bin"}


# Instead of what was there.


def test_in_place_keeps_mode_and_owner(source: Path) -> None:
    source.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(source, 1234, 2345)
    before = source.stat()
    optimize_file(source, source, QUICK)
    after = source.stat()
    assert before.st_ino != after.st_ino
    for field in ("st_mode", "st_uid", "st_gid"):
        assert getattr(after, field) == getattr(before, field)


@pytest.mark.skipif(not hasattr(os, "setxattr"), reason="no extended attributes here")
def test_in_place_keeps_attributes(source: Path) -> None:
    try:
        os.setxattr(source, "user.origin", b"a store")
    except OSError as error:
        pytest.skip(f"this file system takes none: {error}")
    optimize_file(source, source, QUICK)
    assert os.getxattr(source, "user.origin") == b"a store"


def test_only_remains_are_cleared(source: Path, tmp_path: Path) -> None:
    """A workspace whose process lives stays, and so does what only looks like one."""
    (tmp_path / f"{PREFIX}file").touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"{PREFIX}link").symlink_to("elsewhere")
    (tmp_path / f"{PREFIX}0123").mkdir()
    (tmp_path / f"{PREFIX}0123" / "model.onnx").touch()
    (tmp_path / "model.onnx.0123.data").touch()
    with Workspace(tmp_path) as living:
        living.create("half").close()
        optimize_file(source, tmp_path / "out.onnx", QUICK)
        assert (living.path / "half").exists()
    assert names(tmp_path) == {
        "in.onnx", "out.onnx", "elsewhere", f"{PREFIX}file", f"{PREFIX}link"
    }  # fmt: skip


def test_data_is_as_private_as_its_model(external: Path, tmp_path: Path) -> None:
    external.chmod(0o600)
    optimize_file(external, external, QUICK)
    (data,) = names(tmp_path) - {"ext.onnx", "ext.bin"}
    assert stat.S_IMODE((tmp_path / data).stat().st_mode) == 0o600


def test_links_are_followed(source: Path, tmp_path: Path) -> None:
    """As those of DVC, git-annex and the caches of Hugging Face: the link stays one."""
    (tmp_path / "store").mkdir()
    blob, link = tmp_path / "store" / "blob", tmp_path / "link.onnx"
    blob.write_bytes(source.read_bytes())
    link.symlink_to("store/blob")
    optimize_file(link, link, QUICK)
    assert os.readlink(link) == "store/blob"
    same_results(source, blob)
    assert names(tmp_path / "store") == {"blob"}


def test_a_link_to_nothing_is_followed(source: Path, tmp_path: Path) -> None:
    (tmp_path / "link.onnx").symlink_to("real.onnx")
    optimize_file(source, tmp_path / "link.onnx", QUICK)
    assert (tmp_path / "link.onnx").is_symlink()
    same_results(source, tmp_path / "real.onnx")


def test_data_is_not_put_where_a_link_would_not_find_it(external: Path, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "link.onnx").symlink_to("store/blob")
    with pytest.raises(OutputError, match="is a link into another folder"):
        optimize_file(external, tmp_path / "link.onnx", QUICK)
    assert names(tmp_path / "store") == set()


def test_write_protected_files_stay(source: Path, old: Path) -> None:
    """Stores protect what links lead to by its mode; that holds for the superuser, too."""
    old.chmod(0o444)
    with pytest.raises(OutputError, match="write-protected"):
        optimize_file(source, old, QUICK)
    assert_untouched(old, "in.onnx")


@pytest.mark.parametrize("linked", [False, True])
def test_what_is_no_file_is_never_replaced(source: Path, tmp_path: Path, linked: bool) -> None:
    device = target = tmp_path / "device"
    os.mkfifo(device)
    if linked:
        target = tmp_path / "link"
        target.symlink_to("device")
    with pytest.raises(OutputError, match="is no regular file"):
        optimize_file(source, target, QUICK)
    assert device.is_fifo()


def test_what_becomes_a_device_meanwhile_is_not_replaced(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.onnx"
    with Draft(target) as draft:
        draft.write(read(source), tmp_path, single=True)
        os.mkfifo(target)
        with pytest.raises(OutputError, match="something else"):
            draft.commit()
    assert target.is_fifo()


# What is invalid.


def test_an_invalid_result_is_not_written(
    source: Path, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where nobody asks for a proof."""

    def doubled(*_: object, **__: object) -> ModelProto:
        model = acnet()
        model.graph.initializer.append(model.graph.initializer[0])
        return model

    monkeypatch.setattr("onnxac.stages.assemble", doubled)
    with pytest.raises(VerificationError, match="not valid ONNX"):
        optimize_file(source, old, QUICK)
    assert_untouched(old, "in.onnx")
    with pytest.raises(VerificationError, match="not valid ONNX"):
        optimize(source, QUICK)


def test_an_output_without_a_shape_hides_nothing(source: Path, old: Path) -> None:
    """The checker stops at a missing shape, which is allowed, and sees nothing behind it."""
    model = acnet()
    model.graph.output[0].type.tensor_type.ClearField("shape")
    onnx.save(model, source)
    optimize_file(source, old, QUICK)
    model.graph.node[1].output[0] = "a"
    onnx.save(model, source)
    with pytest.raises(ModelError, match="SSA"):
        read(source)


def test_weights_of_a_megabyte_stay_in_their_file(tmp_path: Path) -> None:
    """They are not held in memory twice, and the checker needn't read them."""
    model = acnet()
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(2**18, np.float32), "spare"))
    onnx.save(model, tmp_path / "in.onnx")
    assert "spare" in {t.name for t in external_tensors(read_lazily(tmp_path / "in.onnx"))}
