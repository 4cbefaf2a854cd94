"""What runs tasks: processes of this machine, Ray, or Dask. None of them is ours.

An engine yields the position of each task with its outcome as it is done, or with the
exception by which its worker was lost, more often than the engine tries again.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from types import ModuleType
from typing import Any, Protocol

from onnxac.errors import MissingExtraError, UsageError
from onnxac.fleet.task import Task
from onnxac.report.fleet import Outcome

Perform = Callable[[Task], Outcome]
Done = Iterator[tuple[int, Outcome | BaseException]]
# How often a task is tried again whose worker has died.
RETRIES = 2


class Engine(Protocol):
    """Runs tasks. `name` is what the report calls it."""

    @property
    def name(self) -> str:
        """One word."""
        ...

    def run(self, perform: Perform, tasks: Sequence[Task]) -> Done:
        """Each task's position and outcome, in the order in which they are done."""
        ...


class Ray:
    """A Ray cluster: that at RAY_ADDRESS, or one of this machine for the time being."""

    name = "ray"

    def __init__(self) -> None:
        self._ray: Any = _extra("ray", "ray")

    def run(self, perform: Perform, tasks: Sequence[Task]) -> Done:
        """As `Engine.run` says."""
        ray = self._ray
        # Ray tells of dead workers on standard output, which may carry a report.
        with redirect_stdout(sys.stderr), self._cluster():
            remote = ray.remote(max_retries=RETRIES)(perform)
            running = {remote.remote(task): i for i, task in enumerate(tasks)}
            while running:
                for reference in ray.wait(list(running), num_returns=1)[0]:
                    i = running.pop(reference)
                    try:
                        yield i, ray.get(reference)
                    except ray.exceptions.RayError as error:
                        yield i, error

    @contextmanager
    def _cluster(self) -> Iterator[None]:
        """One that the caller has set up is taken, and stays."""
        if self._ray.is_initialized():
            yield
            return
        self._ray.init(logging_level="error", log_to_driver=False)
        try:
            yield
        finally:
            self._ray.shutdown()


class Dask:
    """A Dask cluster: that at DASK_SCHEDULER_ADDRESS, or one of this machine for the time being."""

    name = "dask"

    def __init__(self) -> None:
        self._distributed: Any = _extra("distributed", "dask")
        self._config: Any = _extra("dask.config", "dask")

    def run(self, perform: Perform, tasks: Sequence[Task]) -> Done:
        """As `Engine.run` says."""
        distributed = self._distributed
        with (
            self._config.set({"distributed.scheduler.allowed-failures": RETRIES}),
            self._client() as client,
        ):
            futures = {client.submit(perform, task, pure=False): i for i, task in enumerate(tasks)}
            lost = []
            for future in distributed.as_completed(futures):
                # Asked once: what is done may be lost, and done anew, until it is asked again.
                found = _outcome(future)
                if isinstance(found, distributed.KilledWorker):
                    lost.append(futures[future])
                else:
                    yield futures[future], found
            # Dask holds it against a task, too, that it waited at a worker where another one died.
            for i in lost:
                yield i, _outcome(client.submit(perform, tasks[i], pure=False))

    def _client(self) -> Any:
        if self._config.get("scheduler-address", None):
            return self._distributed.Client()
        # Threads of one process would wait for each other.
        return self._distributed.Client(
            n_workers=os.cpu_count(), threads_per_worker=1, dashboard_address=None
        )


def _outcome(future: Any) -> Any:
    """What a task gave, or the exception that it ended in."""
    try:
        return future.result()
    except Exception as error:
        return error


def named(name: str) -> Engine:
    """The engine of a name. Raises UsageError where there is none, or its package is missing."""
    known: dict[str, Callable[[], Engine]] = {Ray.name: Ray, Dask.name: Dask}
    if name not in known:
        raise UsageError(f"engine {name!r}: known are {', '.join(known)}")
    return known[name]()


def _extra(module: str, extra: str) -> ModuleType:
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f'{module} is not installed; pip install "onnxac[{extra}]"'
        ) from error
