"""The benchmark's own parts: what it measures is told as it was, and drawn from that alone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import numpy as np
import onnxruntime
import pytest


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> tuple[ModuleType, ModuleType]:
    monkeypatch.syspath_prepend(str(Path("benchmarks").resolve()))
    import compare  # type: ignore[import-not-found]
    import figures  # type: ignore[import-not-found]

    return compare, figures


def figure(value: float) -> dict[str, float]:
    return {"median": value, "low": value - 0.25, "high": value + 0.25}


def network(name: str, own: float, peer: float, deploy: float) -> dict[str, Any]:
    cost = {"megabytes": figure(100), "wall": figure(1), "nodes": 1234, "bytes": 2_500_000}
    times = {
        "input": {**figure(8), "runs": 9, "error": 0.0},
        "onnxac": {**figure(8 / own), "runs": 9, "error": 1e-7},
        "onnxsim": {**figure(8 / peer), "runs": 9, "error": 0.0},
        "onnxslim": {"failure": "it does not load"},
        "deploy": {**figure(8 / deploy), "runs": 9, "error": 1e-7},
    }
    tools = {
        "onnxac": {**cost, "seconds": figure(2)},
        "onnxac --no-verify": {**cost, "seconds": figure(1)},
        "onnxsim": {**cost, "seconds": figure(4)},
        "onnxslim": {"failure": "not done in 20 s"},
    }
    latency = {"1 thread": times, "all threads": times, "openvino": times}
    return {"name": name, "nodes": 2000, "bytes": 3_000_000, "tools": tools, "latency": latency}


def results() -> dict[str, Any]:
    ahead, behind = network("ahead", 4, 1.5, 4), network("behind", 1, 1.5, 1.25)
    return {
        "date": "2026-11-25",
        "short": True,
        "rounds": 1,
        "inferences": 6,
        "minutes": 3,
        "machine": {"processor": "some", "cores": 2, "gigabytes": 24, "load": [0.1, 0.1, 0.1]},
        "versions": {"onnxac": "0.1.0", "onnxsim": "0.8.1"},
        "networks": [ahead, behind],
        "chains": [{"nodes": n, "bytes": n, "tools": ahead["tools"]} for n in (90, 900)],
    }


def test_tables_tell_what_was_measured(parts: tuple[ModuleType, ModuleType]) -> None:
    page = "\n".join(parts[1].whole(results()))
    assert "| ahead | 8.00 (7.75–8.25) | 4.00 | 1.50 | – | – | – | – | 4.00 |" in page
    assert "| ahead | 2.00 (1.75–2.25) | 1.00 (0.75–1.25) | 4.00 (3.75–4.25) | not done" in page
    assert "a short run: 1 of each tool and 6 inferences" in page
    assert "onnxsim 0.8.1" in page


def test_where_another_is_ahead_is_said(parts: tuple[ModuleType, ModuleType]) -> None:
    said = list(parts[1].missed(results()))
    assert said[1] == (
        "- behind: onnxsim's output is faster, 1.50 to 1.00 (1 thread); "
        "the deploy form is faster, 1.25 to 1.00 (1 thread); "
        "onnxsim's output is faster, 1.50 to 1.00 (all threads); "
        "the deploy form is faster, 1.25 to 1.00 (all threads); "
        "memory is 1.00 of onnxsim's, not 0.7."
    )
    assert said[0] == "- ahead: memory is 1.00 of onnxsim's, not 0.7."


def test_a_network_that_failed_is_named_and_in_no_table(
    parts: tuple[ModuleType, ModuleType],
) -> None:
    known = results()
    known["networks"].append({"name": "lost", "failure": "no such file"})
    page = "\n".join(parts[1].whole(known))
    assert "lost was not measured: no such file." in page
    assert "| lost |" not in page
    assert "lost" not in parts[1].pictures(known)["speedup.svg"]


def bench(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """The command, on what stands in a folder, with this environment for that of the peers."""
    command = [sys.executable, "benchmarks/compare.py", str(folder), sys.executable]
    effort = ["--rounds=1", "--runs=2", "--seconds=1", "--chains=18"]
    output = ["-o", str(folder / "results.json")]
    return subprocess.run(
        [*command, *effort, *output, *more], capture_output=True, check=False, text=True
    )


def test_a_run_goes_on_where_it_was_cut_short(
    parts: tuple[ModuleType, ModuleType], tmp_path: Path
) -> None:
    """Small, and with the one peer that this environment has: all parts of it run."""
    shutil.copy("models/onnx/acnet_seed/B.onnx", tmp_path / "one.onnx")
    kept = tmp_path / "kept.json"
    done = bench(tmp_path, "--names=one,two", "--partial", str(kept))
    assert done.returncode == 1
    assert "not measured: two" in done.stderr
    found = json.loads((tmp_path / "results.json").read_text("utf-8"))
    assert [n["name"] for n in found["networks"]] == ["one", "two"]
    assert "failure" in found["networks"][1]
    one = found["networks"][0]
    assert one["tools"]["onnxac"]["nodes"] == 1
    assert one["latency"]["1 thread"]["onnxac"]["error"] < 1e-5
    assert [c["nodes"] for c in found["chains"]] == [18]
    assert "| one |" in "\n".join(parts[1].whole(found))

    # As a run leaves it that is ended during the second network.
    shutil.copy("models/onnx/acnet_seed/B.onnx", tmp_path / "two.onnx")
    one["nodes"] = 4711
    kept.write_text(json.dumps({**found, "networks": [one], "chains": []}))
    done = bench(tmp_path, "--names=one,two", "--partial", str(kept))
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "results.json").read_text("utf-8"))
    assert [n["nodes"] for n in found["networks"]] == [4711, 18]
    assert not kept.exists()


def test_plots_are_pictures(parts: tuple[ModuleType, ModuleType]) -> None:
    drawn = parts[1].pictures(results())
    assert set(drawn) == {"speedup.svg", "growth.svg"}
    for picture in drawn.values():
        circles = [e for e in ElementTree.fromstring(picture).iter() if e.tag.endswith("circle")]
        assert len(circles) >= 6
        assert all(0 <= float(c.attrib["cx"]) <= 720 for c in circles)


def test_only_what_stands_between_the_marks_is_replaced(
    parts: tuple[ModuleType, ModuleType], tmp_path: Path
) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- networks -->\nold\n<!-- end networks -->\nb\n")
    parts[1].put(page, iter(["new"]))
    assert page.read_text() == "a\n<!-- networks -->\nnew\n<!-- end networks -->\nb\n"
    page.write_text("no place")
    with pytest.raises(ValueError, match="no place"):
        parts[1].put(page, iter(["new"]))


def test_pages_say_what_the_results_say(parts: tuple[ModuleType, ModuleType]) -> None:
    """Nobody has typed a figure: pages and plots are what the script makes of the results."""
    figures = parts[1]
    known = json.loads(Path("benchmarks/results.json").read_text("utf-8"))
    made = {"docs/benchmarks.md": figures.whole(known)}
    if not known["short"]:
        made["README.md"] = figures.readme(known)
    for name, lines in made.items():
        assert "\n".join(lines).rstrip() in Path(name).read_text("utf-8")
    measured = Path("docs/measured").iterdir()
    assert {p.name: p.read_text("utf-8") for p in measured} == figures.pictures(known)


def test_a_process_is_measured_and_a_failure_is_told(
    parts: tuple[ModuleType, ModuleType],
) -> None:
    measure = parts[0].measure
    cost = measure([sys.executable, "-c", "sum(range(3_000_000))"], 60)
    assert cost.cpu > 0
    assert cost.megabytes > 1
    assert measure([sys.executable, "-c", "raise ValueError('no')"], 60) == "ValueError: no"
    assert measure([sys.executable, "-c", "while True: pass"], 1) == "not done in 1 s"


def test_onnxac_is_measured_on_a_chain(
    parts: tuple[ModuleType, ModuleType], tmp_path: Path
) -> None:
    compare = parts[0]
    source = tmp_path / "chain.onnx"
    compare.chains.write(18, source)
    bench = compare.Bench("none", tmp_path, compare.QUICK)
    found = bench.tools(source, (compare.UNPROVEN,), 2, 60)[compare.UNPROVEN]
    assert found["nodes"] == 4
    assert found["seconds"]["low"] <= found["seconds"]["median"] <= found["seconds"]["high"]
    assert compare.weighed(source)["nodes"] == 18


KINDS = ("upsample", "pyramid", "concat", "added", "grouped", "focus", "products", "pools")


@pytest.mark.parametrize("kind", KINDS)
def test_forms_that_compete_compute_the_same(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the smallest case of each kind: what is timed, and what the estimate was against."""
    monkeypatch.syspath_prepend(str(Path("benchmarks").resolve()))
    import forms  # type: ignore[import-not-found]

    cases = sorted(islice(forms.KINDS[kind](), 5), key=lambda c: int(c.made.ByteSize()))
    case = next(c for c in cases if len(forms.forms_of(c)) > 1)
    value = case.made.graph.input[0].type.tensor_type
    x = np.random.default_rng(0).standard_normal([d.dim_value for d in value.shape.dim])
    found = []
    for form in forms.forms_of(case):
        session = onnxruntime.InferenceSession(
            form.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        found.append(session.run(None, {"x": x.astype(np.float32)})[0])
    assert len(found) > 1
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], atol=1e-4 * float(np.abs(found[0]).max()))
