"""`optimize` of many models."""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxac.cli.demands import Demands
from onnxac.cli.options import STDIO
from onnxac.cli.outputs import LARGEST_SUMMARY, Extras
from onnxac.cli.screen import Screen
from onnxac.errors import UsageError

if TYPE_CHECKING:
    from onnxac.fleet.engines import Engine
    from onnxac.report.fleet import Outcome


@dataclass(frozen=True)
class Many:
    """What the command line says of many models."""

    named: tuple[str, ...]
    out_dir: Path | None
    in_place: bool
    dry_run: bool
    jobs: int
    engine: str | None

    @property
    def are_meant(self) -> bool:
        """Whether it is not about one model, and where that one goes."""
        first = self.named[0]
        is_set = os.path.isdir(first) or (glob.has_magic(first) and not os.path.exists(first))
        return self.out_dir is not None or self._is_list or is_set

    @property
    def _is_list(self) -> bool:
        """Whether there are more than IN and OUT."""
        return len(self.named) > 2

    def check(self, extras: Extras, times: bool) -> None:
        """Raise UsageError where something can't be had of many models."""
        if STDIO in self.named:
            raise UsageError("standard input holds one model; leave out --out-dir for that")
        if self.out_dir is not None and self.in_place:
            raise UsageError("--out-dir and --in-place contradict each other")
        if self.out_dir is None and not self.in_place and not self.dry_run:
            what = (
                f"{self.named[2]}: is a third one" if self._is_list else f"{self.named[0]}: is many"
            )
            raise UsageError(f"{what}; say where the results go: --out-dir DIR, or --in-place")
        if self.engine is not None and self.jobs != 1:
            raise UsageError("--jobs is about this machine; a cluster counts its own workers")
        if times and (self.jobs != 1 or self.engine is not None):
            raise UsageError("--bench times one model at a time; leave out --jobs and --engine")
        if extras.diff is not None:
            raise UsageError("--diff shows one model; `onnxac diff` makes the page of any two")


def optimize_many(
    screen: Screen, many: Many, extras: Extras, given: Mapping[str, Any], demands: Demands
) -> int:
    """Optimize all, tell what became of each, and return the exit code of the worst."""
    many.check(extras, given["latency"])
    extras.check(str(many.out_dir or STDIO), str(many.out_dir or STDIO))
    screen.stdout_is_taken = extras.use_stdout
    with screen.progress("starting", clock=True):
        from onnxac.fleet.places import find_models
        from onnxac.fleet.run import Orders, run
        from onnxac.pipeline import Options
        from onnxac.render import fleet

        def told(outcome: Outcome, done: int, total: int) -> None:
            screen.step(f"{outcome.state} {outcome.source}", done, total)

        orders = Orders(
            None if many.dry_run else many.out_dir,
            Options(**given),
            in_place=many.in_place and not many.dry_run,
            fail_if_unfused=demands.fused,
            strict=demands.shown,
        )
        report = run(find_models(many.named), orders, _engine(many), told)
        extras.write_texts(
            lambda: fleet.to_json(report), lambda: fleet.to_markdown(report, LARGEST_SUMMARY)
        )
    screen.show(*fleet.told(report, screen.details))
    return report.exit_code


def _engine(many: Many) -> Engine:
    from onnxac.fleet.engines import named
    from onnxac.fleet.jobs import Jobs

    return Jobs(many.jobs) if many.engine is None else named(many.engine)
