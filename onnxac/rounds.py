"""Round after round through the rooms, until nothing is left to do: a result is final.

What stands between two operators may be in the way of a merge until another one took it in: two
Reshapes that a sum brought together, the Transposes around an activation. So where a round moved
axes or Casts, another one looks at what came of it. Each change is told as one, from the model that
was read to the last one: what a round made of what the round before had made is the same change.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from onnx import ModelProto

from onnxac.forms import Forms
from onnxac.graph.bodies import all_names
from onnxac.graph.model import Model, Store, from_proto
from onnxac.options import Options
from onnxac.report import Branch, FusedOperator, Fusion, NodeRef, Report
from onnxac.report.places import all_nodes
from onnxac.stages import fused as once

# Kinds of rewrites that bring together what was apart.
_MOVING = {"layout", "casts"}
# Enough for whatever was seen; each round leaves fewer nodes, or is the last.
_MOST = 4


def fused(
    original: Model,
    path: Path | None,
    options: Options,
    store: Store | None,
    forms: Forms,
) -> tuple[ModelProto, Report]:
    """As `stages.fused`, until another round finds nothing.

    Weights that went to a store are not read again, and factors are moved once: there one round
    is all.
    """
    read = original.proto
    result, report = once(original, path, options, store, forms)
    if store is not None or options.equalize:
        return result, report
    known = _nodes_of(read)
    latest = report
    for _ in range(_MOST - 1):
        if not _moved(latest):
            break
        model = from_proto(result, original.folder)
        # A name of the model that was read stands for what it stood for there.
        model.reserved |= all_names(read)
        # A weight is rounded once, however often it is merged.
        model.exact |= original.exact
        again, found = once(model, None, options, None, forms)
        if not (found.fusions or found.folded or found.idle or found.repeated):
            break
        left = _nodes_of(again)
        result, report, latest = again, _joined(report, found, known, left), found
    return result, report


def _moved(report: Report) -> bool:
    """Whether anything was moved to where it may meet something else."""
    turns = {m.stats.ops.get("Transpose", 0) for m in (report.before, report.after)}
    return len(turns) > 1 or any(not _MOVING.isdisjoint(f.kinds) for f in report.fusions)


def _nodes_of(model: ModelProto) -> set[NodeRef]:
    """Every node, wherever in the file, as a report names it."""
    owners = (model.graph, *model.functions)
    return {
        NodeRef(n.name or next(iter(n.output), ""), n.op_type)
        for owner in owners
        for n in all_nodes(owner.node)
    }


def _joined(first: Report, then: Report, known: set[NodeRef], left: set[NodeRef]) -> Report:
    """One report of two rounds.

    known  nodes of the model that was read
    left   nodes of the model that came of the second round
    """
    fusions = list(first.fusions)
    gone: set[tuple[str, NodeRef]] = set()
    for later in then.fusions:
        gone |= {(later.place, n) for n in later.removed}
        earlier = [
            f
            for f in fusions
            if f.place == later.place and not set(f.added).isdisjoint(later.removed)
        ]
        place = fusions.index(earlier[-1]) if earlier else len(fusions)
        fusions.insert(place, _composed(earlier, later, known))
        fusions = [f for f in fusions if not any(f is e for e in earlier)]
    told = [_left(f, left) for f in fusions]
    idle = first.idle + then.idle + sum(len(f.removed) for f in told if not f.added)
    return replace(
        first,
        after=then.after,
        fusions=tuple(f for f in told if f.added),
        refusals=tuple(r for r in first.refusals if (r.place, r.node) not in gone),
        folded=first.folded + then.folded,
        idle=idle,
        repeated=first.repeated + then.repeated,
    )


def _composed(earlier: Sequence[Fusion], later: Fusion, known: set[NodeRef]) -> Fusion:
    """One change of those of an earlier round and of the one that took in what they made."""
    made = {n for f in earlier for n in f.added}
    removed = [n for f in earlier for n in f.removed]
    removed += [n for n in later.removed if n in known and n not in made]
    added = [n for f in earlier for n in f.added if n not in later.removed]
    operators = [o for f in earlier for o in f.operators]
    macs = _macs([(f.macs_before, f.macs_after) for f in (*earlier, later)])
    return replace(
        later,
        output=earlier[-1].output if earlier else later.output,
        removed=tuple(dict.fromkeys(removed)),
        added=tuple(dict.fromkeys((*added, *later.added))),
        operators=(
            *(o for o in operators if o.node in added),
            *(_traced(o, operators, known) for o in later.operators),
        ),
        macs_before=macs[0],
        macs_after=macs[1],
        kinds=tuple(sorted({k for f in (*earlier, later) for k in f.kinds})),
    )


def _macs(changes: Sequence[tuple[int | None, int | None]]) -> tuple[int | None, int | None]:
    """Multiply-adds before and after changes of which the last took in what the others had made."""
    known = [(b, a) for b, a in changes if b is not None and a is not None]
    if len(known) < len(changes):
        return None, None
    *earlier, (before, after) = known
    made = sum(a for _, a in earlier)
    return sum(b for b, _ in earlier) + max(before - made, 0), after + max(made - before, 0)


def _traced(
    later: FusedOperator, earlier: Sequence[FusedOperator], known: set[NodeRef]
) -> FusedOperator:
    """The operator with branches of nodes that the model had when it was read."""
    branches: list[Branch] = []
    for branch in later.branches:
        inside = [o for o in earlier if o.node in branch.nodes]
        if len(inside) == 1 and inside[0].taps == branch.taps == later.taps:
            branches += inside[0].branches
            continue
        own = {o.node: o for o in inside}
        nodes = [m for n in branch.nodes for m in _nodes(own.get(n), n)]
        branches.append(replace(branch, nodes=tuple(n for n in nodes if n in known)))
    return replace(later, branches=tuple(branches))


def _nodes(made: FusedOperator | None, node: NodeRef) -> Iterable[NodeRef]:
    """The node, or what it was made of."""
    return [node] if made is None else [n for b in made.branches for n in b.nodes]


def _left(fusion: Fusion, left: set[NodeRef]) -> Fusion:
    """The change with what is left of what it added."""
    if all(n in left for n in fusion.added):
        return fusion
    added = tuple(n for n in fusion.added if n in left)
    operators = tuple(o for o in fusion.operators if o.node in left)
    return replace(fusion, added=added, operators=operators)
