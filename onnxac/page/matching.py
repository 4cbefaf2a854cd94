"""Which node of the one graph stands for which node of the other.

With a report the answer is exact: it names what went into each fusion. Without one, the
two models may come from any tool, and nodes are matched by their names and by the tensors
they write, then by structure; `Matching.method` says which of these it took.
"""

from __future__ import annotations

from collections import Counter

from onnx import ModelProto

from onnxac.report import Fusion, NodeRef, Report

from .foreign import match_foreign
from .index import GraphIndex
from .pairing import Counterpart, Matching, pair_by_name, rest


def match(before: ModelProto, after: ModelProto, report: Report | None = None) -> Matching:
    """The correspondence of two graphs: exact with `report`, else by names and structure."""
    b, a = GraphIndex(before), GraphIndex(after)
    return match_foreign(b, a) if report is None else _match_reported(b, a, report)


def _match_reported(b: GraphIndex, a: GraphIndex, report: Report) -> Matching:
    groups = tuple(
        # The graphs that are drawn are the main ones.
        Counterpart(_resolve(b, f.removed, f), _resolve(a, f.added, f))
        if not f.place
        else Counterpart((), ())
        for f in report.fusions
    )
    gone = {i for g in groups for i in g.before}
    new = {i for g in groups for i in g.after}
    pairs = pair_by_name(b, a, skip_before=gone, skip_after=new)
    return Matching(
        method="report",
        removed=rest(b, (i for i, _ in pairs)),
        added=rest(a, (j for _, j in pairs)),
        unchanged=pairs,
        changed=(),
        counterparts=groups,
    )


def _resolve(index: GraphIndex, refs: tuple[NodeRef, ...], fusion: Fusion) -> tuple[int, ...]:
    """Positions of the nodes that a fusion names.

    A name that several nodes share is settled by where the fusion is: between its output
    and its sources. An unnamed node may be named by the tensor it writes.
    """
    found: set[int] = set()
    cone: set[int] | None = None
    for (name, op), count in Counter((r.name, r.op) for r in refs).items():
        candidates = list(index.by_key.get((name, op), ()))
        writer = index.nodes[index.producer[name]] if name in index.producer else None
        if writer is not None and not writer.name and writer.op_type == op:
            candidates.append(index.producer[name])
        if len(candidates) > count:
            if cone is None:
                cone = index.cone([fusion.output], (o.source for o in fusion.operators))
            candidates = [i for i in candidates if i in cone]
        found.update(candidates)
    return tuple(sorted(found))
