"""What things are called, in every form of a report."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable

from onnxac.render.numbers import extent
from onnxac.render.safe import LONGEST, one_line
from onnxac.report import Branch, FusedOperator, Fusion, NodeRef

_WEIGHTED = {"Conv": "", "ConvTranspose": "transposed", "MatMul": "linear", "Gemm": "linear"}
_POOLED = "AveragePool"
_SHORT = {
    "BatchNormalization": "BN",
    "AveragePool": "AvgPool",
    "GlobalAveragePool": "GAP",
    "ConvTranspose": "ConvT",
}
# The sum at the end of a branch is no part of it.
_SUMS = ("Add", "Sum", "Identity")
# They say most about a branch: kept where there are many.
_WEIGHTY = ("Conv", "BN", "MatMul", "Gemm", "AvgPool", "ConvT")
_STEPS_SHOWN = 19
_PLACES_SHOWN = 3


def node_name(node: NodeRef, limit: int = LONGEST) -> str:
    """The name of a node; exporters leave some without."""
    return one_line(node.name, limit) or f"({operator_type(node.op)})"


def operator_type(op: str) -> str:
    """An operator type; in quotes what is no name, so that no line begins with it."""
    text = one_line(op, 40)
    return text if text.replace(".", "_").isidentifier() else f"'{text}'"


def branch(which: Branch) -> str:
    """A branch in a few characters: its taps, or what it consists of where it has no weight."""
    ops = [n.op for n in which.nodes]
    if any(op in _WEIGHTED for op in ops):
        return extent(which.taps)
    if _POOLED in ops:
        return f"{extent(which.taps)} mean"
    return steps(which)


def steps(which: Branch, limit: int = LONGEST) -> str:
    """The operators along a branch, each once: Conv·BN."""
    ops = (n.op for n in which.nodes if n.op not in _SUMS)
    kinds = list(dict.fromkeys(_SHORT.get(op) or operator_type(op) for op in ops)) or ["identity"]
    if len("·".join(kinds)) <= limit:
        return "·".join(kinds)
    shown = [k for k in kinds if k in _WEIGHTY] or [kinds[0][:limit]]
    while len("·".join((*shown, "…"))) > limit and len(shown) > 1:
        shown.pop()
    return "·".join((*shown, "…"))


def branches(operator: FusedOperator) -> str:
    """All branches of an operator as a sum, 3×3 + 2 · 1×1 + BN; of a lone one its nodes."""
    if len(operator.branches) == 1:
        return steps(operator.branches[0])
    counts = Counter(branch(b) for b in operator.branches)
    return " + ".join(name if n == 1 else f"{n} · {name}" for name, n in counts.items())


def branch_title(which: Branch) -> str:
    """A branch with its taps and its operators: 3×3 Conv·BN."""
    return f"{extent(which.taps)} {steps(which, _STEPS_SHOWN)}"


def shared_nodes(operator: FusedOperator) -> tuple[NodeRef, ...]:
    """Nodes that several branches pass through: mostly what adds them up."""
    uses = Counter(n for branch in operator.branches for n in dict.fromkeys(branch.nodes))
    return tuple(n for n, times in uses.items() if times > 1)


def own_branches(operator: FusedOperator) -> tuple[Branch, ...]:
    """The branches, each with the nodes that are its alone."""
    shared = frozenset(shared_nodes(operator))
    return tuple(_without(branch, shared) for branch in operator.branches)


def _without(which: Branch, shared: frozenset[NodeRef]) -> Branch:
    own = tuple(n for n in which.nodes if n not in shared)
    # Where nodes have one name for all, none can be told to be shared.
    is_plausible = own or max(which.taps, default=1) == 1
    return dataclasses.replace(which, nodes=own) if is_plausible else which


def kernel(operator: FusedOperator) -> str:
    """The operator that came out, with what is not as usual: Conv 3×3, stride 2."""
    parts = [f"{operator_type(operator.node.op)} {extent(operator.taps)}"]
    for name, values in (("stride", operator.stride), ("dilation", operator.dilation)):
        if any(v != 1 for v in values):
            parts.append(f"{name} {values[0] if len(set(values)) == 1 else extent(values)}")
    return ", ".join(parts)


def channels(operator: FusedOperator) -> str:
    """3 → 64."""
    return f"{operator.in_channels} → {operator.out_channels}"


def pads(operator: FusedOperator) -> str:
    """1 for the same on all sides, else all of them in ONNX order."""
    if len(set(operator.pads)) <= 1:
        return str(next(iter(operator.pads), 0))
    return ",".join(map(str, operator.pads))


def milliseconds(value: float) -> str:
    """A latency to three digits: 42.1 µs, 3.07 ms, 1,250 ms."""
    if value < 1:
        return f"{1000 * value:.3g} µs"
    return f"{value:.3g} ms" if value < 1000 else f"{value:,.0f} ms"


def title(fusion: Fusion) -> str:
    """What a fusion is known by: the node it became, or its output where nothing is left."""
    made = (*(o.node for o in fusion.operators), *reversed(fusion.added))
    return next((n.name for n in made if n.name), fusion.output)


def within(places: Iterable[str]) -> str:
    """Where something is, beside the main graph: " (in then_branch of If_3)"."""
    named = [one_line(p) for p in dict.fromkeys(places) if p]
    more = f", and {len(named) - _PLACES_SHOWN:,} more" if len(named) > _PLACES_SHOWN else ""
    return f" (in {'; '.join(named[:_PLACES_SHOWN])}{more})" if named else ""


def changed(fusion: Fusion) -> str:
    """5 → 1."""
    return f"{len(fusion.removed):,} → {len(fusion.added):,}"


def saved(fusions: Iterable[Fusion]) -> tuple[int, int | None]:
    """Nodes and multiply-adds that fusions save; None where an extent is not known."""
    nodes, macs = 0, 0
    known = True
    for fusion in fusions:
        nodes += len(fusion.removed) - len(fusion.added)
        if fusion.macs_before is None or fusion.macs_after is None:
            known = False
        else:
            macs += fusion.macs_before - fusion.macs_after
    return nodes, macs if known else None
