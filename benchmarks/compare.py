"""Measure onnxac beside its peers, and write results.json. `make bench`, `make bench-quick`.

    python benchmarks/compare.py NETWORKS PEERS [--quick] [-o results.json]
                                 [--partial part.json]

NETWORKS is the folder that networks/make.py fills, PEERS the interpreter of the environment of
peers/requirements.txt. Each network goes through each tool, tools by turns, and the processes'
own time and peak memory are taken; of what comes out, nodes, bytes, and the time of an inference
beside the input's and the deploy form's, all by turns again. Chains of blocks show how the tools'
cost grows. A ratio means something only between figures of one run.

After each network all that is measured is written to the partial file. A run that was cut short
goes on from there, if it is of the same day, versions and effort; what failed is tried again.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import chains
import onnx
from record import Record, machine, versions

HERE = Path(__file__).parent
ONNXAC, UNPROVEN = "onnxac", "onnxac --no-verify"
PEERS = ("onnxsim", "onnxslim", "onnxoptimizer", "onnxscript", "onnxruntime")
# Those with branches first.
NETWORKS = (
    "acnet_resnet18", "mobileone_s0", "repvgg_a0", "ecbsr", "fastvit_t8", "ghostnetv3",
    "repvit_m0_9", "paddle_ocr_det", "yolov10n", "bert_mini", "vae_decoder", "mobileone_s4",
)  # fmt: skip


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    networks  which; all of them if none is named
    chains    numbers of nodes
    rounds    runs of each tool on a network, unless they take longer than `patience` together
    patience  seconds for the tools on one network; two rounds are run in any case
    runs      inferences of each model, unless they take longer than `seconds` together
    timeout   seconds of its own that a tool may take
    """

    networks: tuple[str, ...]
    chains: tuple[int, ...]
    rounds: int
    patience: float
    runs: int
    seconds: float
    timeout: float


FULL = Effort((), (100, 1000, 3000, 10000, 50000), 5, 45.0, 60, 10.0, 60.0)
QUICK = Effort(
    ("acnet_resnet18", "mobileone_s0", "ecbsr", "bert_mini"), (100, 1000), 1, 45.0, 10, 3.0, 30.0
)


@dataclass(frozen=True)
class Cost:
    """Of one process: its own seconds, those on the clock, megabytes at the peak."""

    cpu: float
    wall: float
    megabytes: float


def measure(command: Sequence[str], timeout: float) -> Cost | str:
    """What a command costs, or why it did not end well."""
    started = time.perf_counter()
    # Its own seconds are limited: a busy machine must not make a tool fail.
    limit = (math.ceil(timeout), math.ceil(timeout) + 5)
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=said,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, limit),  # noqa: PLW1509
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = used.ru_utime + used.ru_stime
        if process.returncode == 0:
            return Cost(seconds, time.perf_counter() - started, used.ru_maxrss / 1000)
        if process.returncode == -signal.SIGXCPU or seconds >= timeout:
            return f"not done in {timeout:.0f} s"
        said.seek(0)
        lines = said.read().decode(errors="replace").strip().splitlines()
        return (lines[-1] if lines else f"exit code {process.returncode}")[:200]


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


class Bench:
    """The measurements of one run.

    peers  the interpreter of the peers' environment
    """

    def __init__(self, peers: str, folder: Path, effort: Effort) -> None:
        self.peers, self.folder, self.effort = peers, folder, effort

    def command(self, tool: str, source: Path, target: Path) -> list[str]:
        if tool in (ONNXAC, UNPROVEN):
            more = tool.split()[1:]
            return [
                sys.executable,
                "-m",
                "onnxac",
                "optimize",
                str(source),
                str(target),
                "-q",
                *more,
            ]
        return [self.peers, str(HERE / "peers" / "run.py"), tool, str(source), str(target)]

    def target(self, tool: str) -> Path:
        return self.folder / f"{tool.replace(' ', '')}.onnx"

    def tools(
        self, source: Path, tools: Sequence[str], rounds: int, timeout: float
    ) -> dict[str, dict[str, Any]]:
        """Each tool on one model, by turns."""
        costs: dict[str, list[Cost]] = {t: [] for t in tools}
        failures: dict[str, str] = {}
        started = time.perf_counter()
        for turn in range(rounds):
            if turn > 1 and time.perf_counter() - started > self.effort.patience:
                break
            for tool in tools:
                if tool in failures:
                    continue
                self.target(tool).unlink(missing_ok=True)
                cost = measure(self.command(tool, source, self.target(tool)), timeout)
                if isinstance(cost, str):
                    failures[tool] = cost
                else:
                    costs[tool].append(cost)
        found: dict[str, dict[str, Any]] = {t: {"failure": why} for t, why in failures.items()}
        for tool in tools:
            if tool not in failures:
                found[tool] = {
                    "seconds": spread([c.cpu for c in costs[tool]]),
                    "wall": spread([c.wall for c in costs[tool]]),
                    "megabytes": spread([c.megabytes for c in costs[tool]]),
                    **weighed(self.target(tool)),
                }
        return found

    def latency(self, models: Mapping[str, Path], engine: str, threads: int) -> dict[str, Any]:
        asked = {
            "models": {k: str(p) for k, p in models.items()},
            "engine": engine,
            "threads": threads,
            "runs": self.effort.runs,
            "seconds": self.effort.seconds,
        }
        done = subprocess.run(
            [self.peers, str(HERE / "peers" / "latency.py")],
            input=json.dumps(asked),
            capture_output=True,
            check=False,
            text=True,
        )
        if done.returncode:
            why = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            return {label: {"failure": why[:200]} for label in models}
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def network(self, source: Path) -> dict[str, Any]:
        effort = self.effort
        tools = self.tools(source, (ONNXAC, UNPROVEN, *PEERS), effort.rounds, effort.timeout)
        models = {"input": source}
        # Proven or not, it is one model.
        models |= {ONNXAC: self.target(UNPROVEN)} if "failure" not in tools[UNPROVEN] else {}
        models |= {t: self.target(t) for t in PEERS if "failure" not in tools[t]}
        deploy = source.with_suffix(".deploy.onnx")
        if deploy.exists():
            models["deploy"] = deploy
        # What ONNX Runtime writes runs there only.
        elsewhere = {k: p for k, p in models.items() if k in ("input", ONNXAC, "deploy")}
        return {
            "name": source.stem,
            **weighed(source),
            "tools": tools,
            "latency": {
                "1 thread": self.latency(models, "onnxruntime", 1),
                "all threads": self.latency(models, "onnxruntime", 0),
                "openvino": self.latency(elsewhere, "openvino", 1),
            },
        }

    def growth(self) -> Iterator[dict[str, Any]]:
        """Chains, shortest first; who ran out of time on one is not asked for the next."""
        effort = self.effort
        tools: list[str] = [ONNXAC, UNPROVEN, *PEERS]
        for length in effort.chains:
            source = self.folder / "chain.onnx"
            chains.write(length, source)
            results = self.tools(source, tools, 1, effort.timeout)
            yield {**weighed(source), "tools": results}
            tools = [t for t in tools if "failure" not in results[t]]


def weighed(path: Path) -> dict[str, int]:
    """Nodes, Constant not counted, and bytes."""
    model = onnx.load(path, load_external_data=False)
    nodes = sum(n.op_type != "Constant" for n in model.graph.node)
    return {"nodes": nodes, "bytes": path.stat().st_size}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("networks", type=Path)
    parser.add_argument("peers", help="the interpreter of the peers' environment")
    parser.add_argument("--quick", action="store_true", help="few networks, one round")
    parser.add_argument("--names", help="networks, with commas between them")
    parser.add_argument("--chains", help="numbers of nodes, with commas between them")
    parser.add_argument("--rounds", type=int, help="runs of each tool")
    parser.add_argument("--seconds", type=float, help="for the inferences of a network, per engine")
    parser.add_argument("--timeout", type=float, help="seconds of its own that a tool may take")
    parser.add_argument("--runs", type=int, help="inferences of each model, per engine")
    parser.add_argument("--partial", type=Path, help="by default beside the output")
    parser.add_argument("-o", "--output", type=Path, default=HERE / "results.json")
    return parser.parse_args()


def effort_of(given: argparse.Namespace) -> Effort:
    base = QUICK if given.quick else FULL
    return replace(
        base,
        networks=base.networks if given.names is None else tuple(given.names.split(",")),
        chains=base.chains if given.chains is None else tuple(map(int, given.chains.split(","))),
        rounds=given.rounds or base.rounds,
        runs=given.runs or base.runs,
        seconds=given.seconds or base.seconds,
        timeout=given.timeout or base.timeout,
    )


def main() -> None:
    given = arguments()
    effort = effort_of(given)
    names = effort.networks or NETWORKS
    about = {
        "date": datetime.date.today().isoformat(),
        "short": effort != FULL,
        "rounds": effort.rounds,
        "inferences": effort.runs,
        "machine": machine(),
        "versions": versions(given.peers, (*PEERS, "openvino", "onnx", "numpy")),
    }
    record = Record(given.partial or given.output.with_suffix(".partial.json"), about)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(given.peers, Path(folder), effort)
        for name in names:
            if record.has(name):
                continue
            print(name, file=sys.stderr)
            try:
                found = bench.network(given.networks / f"{name}.onnx")
            except Exception as error:
                # One network must not cost the others.
                print(f"{name}: {error}", file=sys.stderr)
                found = {"name": name, "failure": " ".join(str(error).split())[:200]}
            record.put("networks", found)
        for found in bench.growth():
            print(f"chain of {found['nodes']} nodes", file=sys.stderr)
            record.put("chains", found)
    record.finish(names, given.output)
    failed = [n["name"] for n in record.results["networks"] if "failure" in n]
    if failed:
        sys.exit(f"not measured: {', '.join(failed)}")


if __name__ == "__main__":
    main()
