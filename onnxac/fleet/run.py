"""All tasks, to one report."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from onnxac.fleet.engines import Engine
from onnxac.fleet.ledger import Ledger, key_of
from onnxac.fleet.places import Place, targets
from onnxac.fleet.task import Task, failed, perform
from onnxac.options import Options
from onnxac.report.fleet import FleetReport, Outcome
from onnxac.stages import tools

# Is told of each outcome, how many there are, and how many there will be.
Told = Callable[[Outcome, int, int], object]


@dataclass(frozen=True)
class Orders:
    """What is asked for.

    folder           where the results go; None where nothing is written, or each in its place
    in_place         each model is replaced
    options          of each model
    fail_if_unfused  see `Task`
    strict           see `Task`
    """

    folder: Path | None
    options: Options
    in_place: bool = False
    fail_if_unfused: bool = False
    strict: bool = False

    def tasks(self, places: Sequence[Place]) -> dict[Place, Task]:
        """What is to be done with each. Raises UsageError where two results would be one file."""
        goals: Mapping[Place, Path | None]
        if self.folder is not None:
            goals = targets(places, self.folder)
        else:
            goals = {p: Path(p.path) if self.in_place else None for p in places}
        return {place: self._task(place, goal) for place, goal in goals.items()}

    def _task(self, place: Place, goal: Path | None) -> Task:
        target = None if goal is None else str(goal)
        here = str(Path.cwd())
        options = replace(
            self.options,
            inputs=tuple(p.resolve() for p in self.options.inputs),
            custom_ops=tuple(p.resolve() for p in self.options.custom_ops),
        )
        task = Task(place.path, target, here, options, self.fail_if_unfused, self.strict)
        try:
            return replace(task, key=key_of(Path(place.path), task))
        except OSError:
            # The task itself says what is wrong.
            return task


def run(places: Sequence[Place], orders: Orders, engine: Engine, told: Told) -> FleetReport:
    """Do all there is to do. What goes wrong with one model stops no other."""
    began = time.perf_counter()
    tasks = list(orders.tasks(places).items())
    found: dict[int, Outcome] = {}
    # Models that are replaced are found merged the next time.
    ledger = None if orders.folder is None else Ledger(orders.folder)

    def take(i: int, outcome: Outcome) -> None:
        found[i] = outcome
        told(outcome, len(found), len(tasks))

    for i, (place, task) in enumerate(tasks):
        known = ledger.known(task) if ledger and task.key else None
        if place.trouble:
            take(i, failed(task, place.trouble))
        elif known is not None:
            take(i, known)
    left = [i for i in range(len(tasks)) if i not in found]
    for k, result in engine.run(perform, [tasks[i][1] for i in left]) if left else ():
        task = tasks[left[k]][1]
        outcome = result if isinstance(result, Outcome) else failed(task, _lost(result))
        take(left[k], outcome)
        if ledger is not None:
            ledger.note(outcome)
    if ledger is not None:
        ledger.close()
    outcomes = tuple(found[i] for i in range(len(tasks)))
    seconds = time.perf_counter() - began
    return FleetReport(outcomes, engine.name, seconds, tools(), orders.options.command)


def _lost(error: BaseException) -> str:
    return f"its worker died each time ({type(error).__name__}); is there memory enough?"
