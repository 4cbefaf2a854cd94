"""What a benchmark measured, on what, and where it is kept until all of it is there."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def machine() -> dict[str, Any]:
    """What it was measured on, and how busy that was."""
    about = {"system": platform.platform(terse=True), "python": platform.python_version()}
    cpu = Path("/proc/cpuinfo")
    if cpu.exists():
        names = [
            x.split(":", 1)[1].strip() for x in cpu.read_text().splitlines() if "model name" in x
        ]
        about["processor"] = names[0] if names else platform.machine()
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    load = [round(x, 1) for x in os.getloadavg()]
    return {**about, "cores": os.cpu_count(), "gigabytes": round(memory), "load": load}


def versions(peers: str, packages: Sequence[str]) -> dict[str, str]:
    code = (
        "import importlib.metadata as m, json, sys; "
        "there = {d.name for d in m.distributions()}; "
        "print(json.dumps({p: m.version(p) for p in sys.argv[1:] if p in there}))"
    )
    done = subprocess.run(
        [peers, "-c", code, *packages], capture_output=True, check=True, text=True
    )
    found: dict[str, str] = json.loads(done.stdout)
    import onnxac

    return {"onnxac": onnxac.__version__, **found}


class Record:
    """What is measured so far, kept in a file."""

    def __init__(self, path: Path, about: dict[str, Any]) -> None:
        self._path, self._started = path, time.perf_counter()
        self.results: dict[str, Any] = {**about, "minutes": 0.0, "networks": [], "chains": []}
        if path.exists():
            old = json.loads(path.read_text("utf-8"))
            # Not compared: how busy the machine is.
            if all(old.get(k) == v for k, v in about.items() if k != "machine"):
                kept = [n for n in old["networks"] if "failure" not in n]
                self.results |= {"networks": kept, "minutes": old["minutes"]}
        self._before: float = self.results["minutes"]

    def has(self, name: str) -> bool:
        return any(n["name"] == name for n in self.results["networks"])

    def put(self, part: str, found: dict[str, Any]) -> None:
        self.results[part].append(found)
        minutes = self._before + (time.perf_counter() - self._started) / 60
        self.results["minutes"] = round(minutes, 1)
        self.results["machine"]["load at the end"] = machine()["load"]
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps(self.results, indent=1) + "\n", "utf-8")

    def finish(self, names: Sequence[str], output: Path) -> None:
        """Bring the networks into their order, and the file to its place."""
        self.results["networks"].sort(key=lambda n: names.index(n["name"]))
        output.write_text(json.dumps(self.results, indent=1) + "\n", "utf-8")
        self._path.unlink(missing_ok=True)
