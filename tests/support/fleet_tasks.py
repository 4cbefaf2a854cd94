"""Tasks whose worker dies, to be imported by workers as well."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from onnxac.fleet.engines import Dask, Engine, Ray
from onnxac.fleet.jobs import Jobs
from onnxac.fleet.task import Task, perform
from onnxac.pipeline import Options
from onnxac.report.fleet import Outcome

DEADLY = "deadly"


def dies_once(task: Task) -> Outcome:
    """Die on the first attempt, and each time where the target is so called."""
    marker = Path(task.folder, f"{task.source}.tried")
    if not marker.exists() or DEADLY in str(task.target):
        marker.touch()
        os._exit(9)
    return perform(task)


def engine(name: str) -> Engine:
    if name == Jobs.name:
        return Jobs(2)
    return Ray() if name == Ray.name else Dask()


def main(name: str, folder: str, *sources: str) -> None:
    """Print what becomes of each model, in the order in which they were named."""
    tasks = [Task(s, f"out/{s}", folder, Options(verify=False)) for s in sources]
    tasks.append(Task(sources[0], f"out/{DEADLY}.onnx", folder, Options(verify=False)))
    done = sorted(engine(name).run(dies_once, tasks), key=lambda d: d[0])
    for _, outcome in done:
        sys.stdout.write(f"{outcome.state if isinstance(outcome, Outcome) else 'lost'}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
