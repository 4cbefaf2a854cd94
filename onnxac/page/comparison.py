"""Two models beside each other, as a value that shows itself."""

from __future__ import annotations

import os
from pathlib import Path

from onnx import ModelProto

from onnxac.report import ModelInfo, Report, Verification
from onnxac.storage.disk import write_text

from .facts import Facts, Known, gather
from .page import draw_page
from .static import framed
from .text import draw_text


class Comparison:
    """What `onnxac.diff` gives: printed it is text, in a notebook it is the page without graphs.

    facts  all that is shown, as data: totals, operators, verdict, and which node became which
    """

    def __init__(
        self,
        models: tuple[ModelProto, ModelProto],
        names: tuple[str | None, str | None],
        report: Report | None,
        verification: Verification | None,
    ) -> None:
        from onnxac.planning.statistics import foreign_info

        self._models = models
        infos: list[ModelInfo | None] = [None, None]
        if report is None:
            infos = [foreign_info(m, name) for m, name in zip(models, names, strict=True)]
        known = Known(report, verification, before=infos[0], after=infos[1])
        self.facts: Facts = gather(*models, known)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the page: one HTML file, with both graphs where netron is installed.

        Raises OutputError where it can't be written.
        """
        write_text(Path(path), draw_page(*self._models, self.facts))

    def __str__(self) -> str:
        from onnxac.render.plain import as_text

        return as_text(draw_text(*self._models, self.facts))

    def __repr__(self) -> str:
        return f"<Comparison: {self.facts.headline} {self.facts.verdict.headline}>"

    def _repr_html_(self) -> str:
        return framed(self.facts, self._models)
