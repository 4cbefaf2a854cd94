"""What small integer tensors hold where it follows from shapes: numbers and dynamic extents.

`Shape` of a tensor with a dynamic batch holds [N, 3, 224, 224]. Exporters cut such vectors up,
compute with them and put them together again, as the target of a Reshape or an Expand. A symbol
is what a tensor of at most one axis holds, one entry per element; None for an entry that is not
known. A rule here gives an operator's symbol from those of its inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from onnx import TensorProto

from onnxac.inference.dims import (
    Dim,
    divided,
    equal,
    larger,
    minus,
    plus,
    product,
    smaller,
)

Symbol = tuple[Dim | None, ...]
# Longer vectors hold no shapes.
LONGEST = 64


class Known(NamedTuple):
    """What is known of an operand: its symbol, and whether it is a vector, not a number."""

    symbol: Symbol
    vector: bool


_WHOLE = (TensorProto.INT32, TensorProto.INT64)
_WIDE = (*_WHOLE, TensorProto.FLOAT, TensorProto.DOUBLE)

Operands = Sequence[Known | None]
Rule = Callable[[Operands, Mapping[str, Any]], "list[Symbol] | None"]


def _same(operands: Operands, attrs: Mapping[str, Any]) -> list[Symbol] | None:
    """Identity, Cast between types that hold the extent, Squeeze, Unsqueeze, Reshape, Floor."""
    first = operands[0]
    return None if first is None else [first.symbol]


def _elementwise(change: Callable[[Dim | None, Dim | None], Any]) -> Rule:
    def rule(operands: Operands, attrs: Mapping[str, Any]) -> list[Symbol] | None:
        known = [o.symbol for o in operands if o is not None]
        if len(known) < len(operands) or not known:
            return None
        length = max(map(len, known))
        if any(len(s) not in (1, length) for s in known):
            return None
        total, *others = (s * length if len(s) == 1 else s for s in known)
        for other in others:
            total = tuple(change(a, b) for a, b in zip(total, other, strict=True))
        return [total]

    return rule


def _equal(a: Dim | None, b: Dim | None) -> int | None:
    same = equal(a, b)
    return None if same is None else int(same)


def _where(operands: Operands, attrs: Mapping[str, Any]) -> list[Symbol] | None:
    known = [o.symbol for o in operands if o is not None]
    length = max(map(len, known), default=0)
    if len(known) != 3 or any(len(s) not in (1, length) for s in known):
        return None
    rows = zip(*(s * length if len(s) == 1 else s for s in known), strict=True)
    return [tuple(_chosen(*row) for row in rows)]


def _chosen(condition: Dim | None, yes: Dim | None, no: Dim | None) -> Dim | None:
    if condition is None:
        return yes if yes == no else None
    return yes if condition else no


def _concat(operands: Operands, attrs: Mapping[str, Any]) -> list[Symbol] | None:
    known = [o.symbol for o in operands if o is not None]
    return [sum(known, ())] if len(known) == len(operands) else None


def _gather(operands: Operands, attrs: Mapping[str, Any]) -> list[Symbol] | None:
    data, places = operands[0], operands[1]
    if data is None or places is None or not data.vector:
        return None
    count = len(data.symbol)
    if any(not isinstance(p, int) or not -count <= p < count for p in places.symbol):
        return None
    return [tuple(data.symbol[p] for p in places.symbol if isinstance(p, int))]


def _slice(operands: Operands, attrs: Mapping[str, Any]) -> list[Symbol] | None:
    data = operands[0]
    bounds: list[int | None] = []
    for place, name in ((1, "starts"), (2, "ends"), (4, "steps")):
        given: Any = attrs.get(name)
        if place < len(operands):
            operand = operands[place]
            given = None if operand is None else operand.symbol
            if given is None and name != "steps":
                return None
        bound = 1 if given is None else given[0] if len(given) == 1 else None
        if not isinstance(bound, int):
            return None
        bounds.append(bound)
    if data is None or not data.vector or not bounds[2]:
        return None
    start, end, step = bounds
    # Beyond the first element backwards, Python has no number for the end.
    if step is not None and step < 0 and end is not None and end < -len(data.symbol):
        end = None
    return [data.symbol[slice(start, end, step)]]


def _split(operands: Operands, attrs: Mapping[str, Any]) -> list[Symbol] | None:
    data, count = operands[0], int(attrs["outputs"])
    if data is None or not data.vector:
        return None
    sizes: Any = attrs.get("split")
    if len(operands) > 1:
        sizes = None if operands[1] is None else operands[1].symbol
        if sizes is None:
            return None
    if sizes is None:
        share = -(-len(data.symbol) // count)
        sizes = [share] * count
    if any(not isinstance(s, int) or s < 0 for s in sizes):
        return None
    starts = [sum(sizes[:i]) for i in range(count)]
    return [data.symbol[a : a + s] for a, s in zip(starts, sizes, strict=False)]


def _reduce_product(operands: Operands, attrs: Mapping[str, Any]) -> list[Symbol] | None:
    """Over the only axis there is."""
    data = operands[0]
    return None if data is None or not data.vector else [(product(data.symbol),)]


def _reduce_sum(operands: Operands, attrs: Mapping[str, Any]) -> list[Symbol] | None:
    data = operands[0]
    if data is None or not data.vector:
        return None
    total: Dim | None = 0
    for entry in data.symbol:
        total = plus(total, entry)
    return [(total,)]


def _expand(operands: Operands, attrs: Mapping[str, Any]) -> list[Symbol] | None:
    data, target = operands[0], operands[1]
    if data is None or target is None or len(target.symbol) != 1:
        return None
    (length,) = target.symbol
    if not isinstance(length, int) or not 0 < length <= LONGEST:
        return None
    return [data.symbol * length] if len(data.symbol) == 1 else [data.symbol]


def _range(operands: Operands, attrs: Mapping[str, Any]) -> list[Symbol] | None:
    numbers = [o.symbol[0] if o is not None and len(o.symbol) == 1 else None for o in operands]
    if len(numbers) != 3 or not all(isinstance(n, int) for n in numbers) or not numbers[2]:
        return None
    values = range(*(int(str(n)) for n in numbers))
    return [tuple(values)] if len(values) <= LONGEST else None


RULES: dict[str, Rule] = {
    **dict.fromkeys(("Identity", "Cast", "Squeeze", "Unsqueeze", "Reshape", "Flatten"), _same),
    **dict.fromkeys(("Floor", "Ceil", "Round"), _same),
    "Add": _elementwise(plus),
    "Sub": _elementwise(minus),
    "Mul": _elementwise(lambda a, b: product([a, b])),
    "Div": _elementwise(divided),
    "Max": _elementwise(larger),
    "Min": _elementwise(smaller),
    "Equal": _elementwise(_equal),
    "Where": _where,
    "Concat": _concat,
    "Gather": _gather,
    "Slice": _slice,
    "Split": _split,
    "ReduceProd": _reduce_product,
    "ReduceSum": _reduce_sum,
    "Expand": _expand,
    "Range": _range,
}


def is_exact(op: str, dtype: int | None) -> bool:
    """Whether the operator computes with extents as its rule does, for that type of result."""
    if op in ("Equal", "Identity", "Gather", "Slice", "Squeeze", "Unsqueeze", "Reshape"):
        return True
    # In floating point a division is not rounded down; narrow types wrap.
    return dtype in (_WHOLE if op == "Div" else _WIDE)
