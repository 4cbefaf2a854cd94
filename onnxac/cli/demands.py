"""What a run has to come to, for its exit code to be 0."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnxac.report import Report


@dataclass(frozen=True)
class Demands:
    """`--fail-if-unfused` and `--strict`."""

    fused: bool
    shown: bool

    def require(self, report: Report, source: str) -> None:
        """Raise LimitError where one is not met."""
        from onnxac.gate import require_fusions, require_shown

        if self.fused:
            require_fusions(report, source)
        if self.shown:
            require_shown(report, source)
