"""What things are called, in every form of a report."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable

from onnxac.report import Branch, FusedOperator, Fusion, NodeRef

_WEIGHTED = {"Conv": "", "ConvTranspose": "transposed", "MatMul": "linear", "Gemm": "linear"}
_POOLED = "AveragePool"
_SHORT = {"BatchNormalization": "BN"}


def one_line(text: str, limit: int | None = None) -> str:
    """`text` on one line, with nothing in it that a terminal obeys; of a long one its end.

    Control characters, and those that turn the direction of text around, show as �.
    """
    clean = "".join(
        " " if c in "\n\t" else "\ufffd" if unicodedata.category(c) in ("Cc", "Cf", "Cs") else c
        for c in text
    )
    return clean if limit is None or len(clean) <= limit else f"…{clean[1 - limit :]}"


def node_name(node: NodeRef, limit: int | None = 60) -> str:
    """The name of a node; exporters leave some without."""
    return one_line(node.name, limit) or f"({node.op})"


def extent(values: Iterable[int]) -> str:
    """Sizes along the axes: 3×3."""
    return "×".join(str(v) for v in values) or "1"


def branch(which: Branch) -> str:
    """A branch in a few characters: its taps, or what it consists of where it has no weight."""
    ops = [n.op for n in which.nodes]
    if any(op in _WEIGHTED for op in ops):
        return extent(which.taps)
    if _POOLED in ops:
        return f"{extent(which.taps)} mean"
    return steps(which)


def steps(which: Branch) -> str:
    """The operators along a branch: Conv·BN. The sum at its end is no part of it."""
    ops = (n.op for n in which.nodes if n.op not in ("Add", "Sum", "Identity"))
    return "·".join(dict.fromkeys(_SHORT.get(op, one_line(op, 20)) for op in ops)) or "identity"


def branches(operator: FusedOperator) -> str:
    """All branches of an operator as a sum, 3×3 + 2 · 1×1 + BN; of a lone one its nodes."""
    if len(operator.branches) == 1:
        return steps(operator.branches[0])
    counts = Counter(branch(b) for b in operator.branches)
    return " + ".join(name if n == 1 else f"{n} · {name}" for name, n in counts.items())


def kernel(operator: FusedOperator) -> str:
    """The operator that came out, with what is not as usual: Conv 3×3, stride 2."""
    parts = [f"{one_line(operator.node.op, 30)} {extent(operator.taps)}"]
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
    return node_name(fusion.added[-1]) if fusion.added else one_line(fusion.output, 60)


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
