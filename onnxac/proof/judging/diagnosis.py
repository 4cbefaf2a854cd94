"""Why two runs differ: which tensors differ first, and whether a tie is all there is to it.

Made only when something differs: both models are loaded a second time, with their inner
tensors as outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from onnxac.proof.judging.compare import Gap
from onnxac.proof.judging.identity import Likeness
from onnxac.proof.judging.judge import AFTER, BEFORE, Finding
from onnxac.proof.running.process import Pair, Rejection, Result, Worker

PROBED = {BEFORE: "the first model, probed", AFTER: "the second model, probed"}

# Operators whose result hangs on which of two values is larger: on a tie, a last bit decides.
DECIDES = frozenset(
    {
        "TopK", "ArgMax", "ArgMin", "NonMaxSuppression", "Hardmax", "Unique", "NonZero", "Greater",
        "GreaterOrEqual", "Less", "LessOrEqual", "Equal", "Cast", "Round", "Floor", "Ceil", "Sign",
        "QuantizeLinear", "DynamicQuantizeLinear", "IsInf", "IsNaN",
    }
)  # fmt: skip

# What such an operator reads agrees when half of the digits do: everything else that differs
# is judged by its own tolerance.
AGREES = 3.5e-4
FIRST_SHOWN = 3


@dataclass
class Diagnosis:
    """Looks into the two runs on the feed that stands.

    load  loads a model, BEFORE or AFTER, under a key, with some of its tensors as outputs
          instead of its own; says whether it could
    """

    worker: Worker
    likeness: Likeness
    load: Callable[[str, str, Sequence[str]], bool]
    _probed: list[Pair] | None = None

    def excuse(self, findings: Sequence[Finding]) -> list[Finding]:
        """The findings, without those that a tie explains.

        An operator decides differently in the two models, though what it reads agrees: then
        what it reads is nearly a tie, and nothing behind it can be compared in this run.
        """
        gaps = self._gaps()
        behind = self.likeness.behind(self._ties(gaps)) if gaps else {}
        return [
            replace(f, unjudged=f"a tie decides {behind[f.subject.pair.second]} there")
            if f.differs and f.subject.pair.second in behind
            else f
            for f in findings
        ]

    def _ties(self, gaps: dict[str, Gap]) -> dict[str, str]:
        ties: dict[str, str] = {}
        for node in self.likeness.b.nodes:
            if node.op_type not in DECIDES:
                continue
            read = [gaps[n] for n in node.input if n in gaps]
            agrees = bool(read) and all(_agrees(g) for g in read)
            if agrees and any(n in gaps and gaps[n].relative[0] > AGREES for n in node.output):
                what = f"{node.op_type} {node.name or node.output[0]!r}"
                ties.update((name, what) for name in node.output if name)
        return ties

    def first_differing(self) -> tuple[str, ...]:
        """The first tensors of the second model, in its order, that differ from their namesakes."""
        gaps = self._gaps()
        order = [n for node in self.likeness.b.nodes for n in node.output]
        return tuple(n for n in order if n in gaps and not _agrees(gaps[n]))[:FIRST_SHOWN]

    def _gaps(self) -> dict[str, Gap]:
        """How far each pair of tensors is apart, by the second's name; empty if unknown."""
        if self._probed is None:
            pairs = [Pair(a, b) for a, b in self.likeness.probes(DECIDES)]
            loaded = pairs and all(
                self.load(key, PROBED[key], names)
                for key, names in (
                    (BEFORE, [p.first for p in pairs]),
                    (AFTER, [p.second for p in pairs]),
                )
            )
            self._probed = pairs if loaded else []
        if not self._probed:
            return {}
        for key in PROBED.values():
            if isinstance(self.worker.run(key), Rejection):
                return {}
        results = (Result(PROBED[BEFORE]), Result(PROBED[AFTER]))
        found = self.worker.gaps(*results, self._probed)
        return {p.second: g for p, g in zip(self._probed, found, strict=True)}


def _agrees(gap: Gap) -> bool:
    return not gap.reason and bool(gap.relative[0] <= AGREES)
