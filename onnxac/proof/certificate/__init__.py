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
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from onnx import ModelProto

from onnxac.proof.certificate.alike import Known
from onnxac.proof.certificate.branches import in_place
from onnxac.proof.certificate.calls import UnknownOperatorError
from onnxac.proof.certificate.comparison import Comparison
from onnxac.proof.certificate.cut import Graph, cut_out, graphs, related
from onnxac.proof.certificate.places import Views
from onnxac.proof.certificate.rounding import AIM
from onnxac.proof.certificate.scaled import commutes, flaw, unscaled
from onnxac.proof.certificate.shapes import Shapes
from onnxac.proof.settings import Tick, untold
from onnxac.report import FAILS, HOLDS, OPEN, Certificate, Change, Equalization, Fusion

__all__ = ["AIM", "certify"]


def certify(
    before: ModelProto,
    after: ModelProto,
    changes: Sequence[Change],
    folders: tuple[str, str] = ("", ""),
    tick: Tick = untold,
) -> list[Certificate]:
    """A certificate for each change that made `after` of `before`, from the two alone.

    folders  where external data of each lies
    tick     is told how many of how many are made
    """
    found: dict[int, Certificate] = {}
    views = Views(before), Views(after)
    by_place: dict[str, list[int]] = defaultdict(list)
    for index, change in enumerate(changes):
        by_place[change.place if isinstance(change, Fusion) else ""].append(index)
    for place, indices in by_place.items():
        try:
            second = views[1].of(place)
            pair = in_place(views[0].of(place), second), second
        except UnknownOperatorError as error:
            found.update((i, _open(str(error))) for i in indices)
            continue
        own = [changes[i] for i in indices]
        for index, made in zip(indices, _certified(pair, own, folders), strict=True):
            tick(len(found), len(changes))
            found[index] = made
    return [found[i] for i in range(len(changes))]


def _certified(
    pair: tuple[ModelProto, ModelProto], changes: Sequence[Change], folders: tuple[str, str]
) -> Iterator[Certificate]:
    """A certificate for each change of one graph, that of equal places."""
    first, second = graphs(*pair, folders)
    scaled = [c for c in changes if isinstance(c, Equalization)]
    wrong = flaw(second, scaled)
    # What is told of factors can't be: fusions are judged as if there were none.
    plain, second = second, second if wrong else unscaled(second, scaled)
    shapes, known = Shapes(*pair), Known()
    judged: dict[str, Certificate] = {}
    for change in changes:
        began = time.perf_counter()
        if isinstance(change, Fusion):
            made = _certificate(first, second, [n.name for n in change.added], shapes, known)
            judged.update((n.name, made) for n in change.added)
        elif wrong:
            made = _failed(wrong)
        else:
            handed = _handed_on(first, plain, change)
            judge = partial(_certificate, first, second, shapes=shapes, known=known)
            made = _together(change, {**handed, **judged}, judge)
        yield replace(made, seconds=time.perf_counter() - began)


def _together(
    change: Equalization,
    judged: Mapping[str, Certificate],
    judge: Callable[[Sequence[str]], Certificate],
) -> Certificate:
    """The certificate of factors: that of each node which reads or makes what they divide.

    judged  certificates of nodes that were judged already
    judge   makes that of another node
    """
    parts = [
        judged.get(n.name) or judge([n.name])
        for n in (*change.makers, *change.passing, *change.readers)
    ]
    worst = next((p for v in (FAILS, OPEN) for p in parts if p.verdict == v), parts[0])
    return replace(
        worst,
        sources=tuple({s.name: s for p in parts for s in p.sources}.values()),
        entries=sum(p.entries for p in parts),
        worst=max(p.worst for p in parts),
        unit=max(p.unit for p in parts),
        false_pass=max(p.false_pass for p in parts),
        elements=sum(p.elements for p in parts),
    )


def _handed_on(before: Graph, after: Graph, change: Equalization) -> dict[str, Certificate]:
    """Certificates of the nodes of which it is enough to see that they are what they were."""
    told = {t.after: t for t in change.tensors}
    count = sum(len(t.factors) for t in change.tensors)
    holds = Certificate(HOLDS, None, (), count, 0.0, 0.0, 0.0, 0.0, 0)
    return {n.name: holds for n in change.passing if commutes(before, after, n.name, told)}


def _certificate(
    before: Graph, after: Graph, added: Sequence[str], shapes: Shapes, known: Known
) -> Certificate:
    opened: frozenset[str] = frozenset()
    failed: Certificate | None = None
    while True:
        cut = cut_out(before, after, added, opened)
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


def _failed(reason: str) -> Certificate:
    return replace(_open(reason), verdict=FAILS)


def _open(reason: str) -> Certificate:
    return Certificate(OPEN, reason, (), 0, 0.0, 0.0, 1.0, 0.0, 0)
