"""One certificate per change: both ways of computing a tensor, compared entry by entry.

What is shown. The nodes that a change added, and what they replace, are cut out of the two graphs
(`cut`), and evaluated by a naive evaluator of their own (`operators`, `moving`, `windowed`;
float64, nothing of the code that made the change). Both sides are affine in their sources, y = M·x
+ b. So b is what they give for zeros, and a column of M is what they give for an impulse.

1. *Every entry that the position does not change.* Impulses of every channel at one position for
   each residue of the strides, far enough from all borders: their answers are the kernel, tap by
   tap. Each entry is compared with its counterpart.
2. *Borders.* On a map that shows every class of border positions (`sizes`), either impulses at
   every position are read too, which leaves nothing open; or, where that would be too much, dense
   random integers are fed, as often as makes a false pass unlikely enough.
3. *Rounding* is bounded beforehand. New weights were rounded once, so each layer of the new side
   may be off by u per weight, and the float64 arithmetic of both sides by k·2⁻⁵³ (Higham,
   Accuracy and Stability of Numerical Algorithms, section 3.1), k the length of its sums:

       |M'·x − M·x| <= γ(u, layers)·Σ|w'||x| + γ(2⁻⁵³, k)·(Σ|w'||x| + Σ|w||x|)

   For an impulse that is one unit in the last place of one weight. No tolerance is chosen.

A dense probe draws each element from the integers of −R to R. If one entry of M' − M is d, all
other elements of the probe leave an interval of length 2·bound/|d| that this one has to hit: it
does with probability at most (2·bound/|d| + 1)/(2R + 1). The number in the certificate is for
faults that reach the mean weight of their output (a tap too many or too few at a border, a swapped
one, a wrong fill), and for all probes together; smaller faults inside are excluded by 1.

What is not shown: that the tensors at the sources are equal (that is for the certificates of what
makes them), that nothing else was changed in the graph, and how a runtime rounds.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from onnx import ModelProto

from onnxac.proof.certificate.alike import Known
from onnxac.proof.certificate.calls import UnknownOperatorError
from onnxac.proof.certificate.comparison import Comparison
from onnxac.proof.certificate.cut import Graph, cut_out, graphs, related
from onnxac.proof.certificate.rounding import AIM
from onnxac.proof.certificate.shapes import Shapes
from onnxac.proof.settings import Tick, untold
from onnxac.report import FAILS, OPEN, Certificate, Fusion

__all__ = ["AIM", "certify"]


def certify(
    before: ModelProto,
    after: ModelProto,
    fusions: Sequence[Fusion],
    folders: tuple[str, str] = ("", ""),
    tick: Tick = untold,
) -> list[Certificate]:
    """A certificate for each fusion that made `after` of `before`, from the two alone.

    folders  where external data of each lies
    tick     is told how many of how many are made
    """
    first, second = graphs(before, after, folders)
    shapes, known = Shapes(before, after), Known()
    found = []
    for done, fusion in enumerate(fusions):
        tick(done, len(fusions))
        began = time.perf_counter()
        made = _certificate(first, second, fusion, shapes, known)
        found.append(replace(made, seconds=time.perf_counter() - began))
    return found


def _certificate(
    before: Graph, after: Graph, fusion: Fusion, shapes: Shapes, known: Known
) -> Certificate:
    opened: frozenset[str] = frozenset()
    failed: Certificate | None = None
    while True:
        cut = cut_out(before, after, [n.name for n in fusion.added], opened)
        if isinstance(cut, str):
            return failed or _open(cut)
        try:
            own = {s: shapes.of(s) for s in cut.sources}
            made = known.of(cut, own) or Comparison(cut, own, after).certificate()
        except UnknownOperatorError as error:
            # What makes one source of another is not affine: no change can have built on that.
            return failed or _open(str(error))
        # Sources are fed independently. If one is made of another, that asks for too much.
        bound = related(before, cut.sources) if made.verdict == FAILS else None
        if bound is None:
            known.note(cut, own, made)
            return made
        opened, failed = opened | {bound}, made


def _open(reason: str) -> Certificate:
    return Certificate(OPEN, reason, (), 0, 0.0, 0.0, 1.0, 0.0, 0)
