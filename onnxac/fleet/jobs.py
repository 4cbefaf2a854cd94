"""Tasks in processes of this machine.

Each of the jobs is a pool of one process. A process that dies, by a crash or for want of memory,
takes its own task with it and no other; the task is tried again in a new one.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from types import FrameType

from onnxac.fleet.engines import RETRIES, Done, Perform
from onnxac.fleet.task import Task
from onnxac.report.fleet import Outcome


class Jobs:
    """As many processes as there are jobs."""

    name = "jobs"

    def __init__(self, number: int) -> None:
        self.number = number

    def run(self, perform: Perform, tasks: Sequence[Task]) -> Done:
        """As `Engine.run` says. Whoever stops reading ends the processes."""
        crew = _Crew(perform)
        threads = ThreadPoolExecutor(min(self.number, len(tasks)) or 1)
        try:
            futures: dict[Future[Outcome], int] = {
                threads.submit(crew.perform, task): i for i, task in enumerate(tasks)
            }
            for future in as_completed(futures):
                yield futures[future], future.exception() or future.result()
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
            crew.dismiss()
            threads.shutdown()


class _Crew:
    """The process of each thread."""

    def __init__(self, perform: Perform) -> None:
        self._perform = perform
        self._own = threading.local()
        self._lock = threading.Lock()
        self._pools: dict[ProcessPoolExecutor, int] = {}
        self._dismissed = False

    def perform(self, task: Task) -> Outcome:
        """Run a task in the process of this thread. Raises BrokenProcessPool if that dies."""
        for attempt in range(RETRIES + 1):
            pool = self._pool()
            try:
                return pool.submit(self._perform, task).result()
            except BrokenProcessPool:
                self._leave(pool)
                if attempt == RETRIES or self._dismissed:
                    raise
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _pool(self) -> ProcessPoolExecutor:
        pool: ProcessPoolExecutor | None = getattr(self._own, "pool", None)
        if pool is None:
            # A fork would copy locks of threads that it does not copy.
            context = multiprocessing.get_context("spawn")
            pool = ProcessPoolExecutor(1, mp_context=context, initializer=_settle)
            pid = pool.submit(os.getpid).result()
            with self._lock:
                self._pools[pool] = pid
            self._own.pool = pool
        return pool

    def _leave(self, pool: ProcessPoolExecutor) -> None:
        pool.shutdown(wait=False)
        self._own.pool = None
        with self._lock:
            self._pools.pop(pool, None)

    def dismiss(self) -> None:
        """End all processes; those that are at work remove what is unfinished."""
        self._dismissed = True
        with self._lock:
            pools = dict(self._pools)
        for pool, pid in pools.items():
            try:
                os.kill(pid, signal.SIGTERM)
            except ProcessLookupError:
                continue
            finally:
                pool.shutdown(wait=False)


def _settle() -> None:
    """A process ends by an exception, so that unfinished files are removed."""
    # The terminal tells all processes; the first of them tells the others when to end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end)


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
