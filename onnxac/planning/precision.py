"""Element types: which Casts may be folded, and in which type a term is computed.

Mixed precision is Conv(narrow) → Cast → BatchNormalization(wide) → Cast. Its source and its
result share the narrow type, and the type between holds all their values. So the branch is one
Conv in the narrow type, whose result is rounded once. A tensor that is itself narrower than
what it is made of, or than what is made of it, rounds: nothing is put together across it, but
for what only moves elements.

Operators that accumulate do so in a wider type than they are stored in, and take their bias in
before they round; elementwise ones round each on its own. So what went through a wide type is
computed there, as long as no operator that accumulates takes it in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import onnx
from onnx import TensorProto

from onnxac.algebra import Obstacle, Sum, Term
from onnxac.inference.casts import holds

Kinds = Callable[[str], "int | None"]


def rounding(
    reader: Sum, result: str, tensor: str, definition: Sum, kind: Kinds
) -> Obstacle | None:
    """Why a tensor can't be put into its reader: between both, it is rounded.

    kind  element type of a tensor
    """
    here, behind = kind(tensor), kind(result)
    outer = [t for t in reader.terms if t.source == tensor]
    read = all(holds(here, kind(t.source)) for t in definition.terms)
    # Rounding and moving elements commute.
    made = holds(here, behind) or _moves(definition.terms, definition)
    if (read and made) or (holds(here, behind) and _moves(outer, reader)):
        return None
    name = onnx.TensorProto.DataType.Name(here or TensorProto.UNDEFINED).lower()
    return Obstacle("cast", f"{tensor} is rounded to {name}; without that, it would be another")


def _moves(terms: Iterable[Term], whole: Sum) -> bool:
    """Whether the terms are all of a sum, and only move elements."""
    return not whole.biases and len(whole.terms) == 1 and all(_is_moving(t) for t in terms)


def _is_moving(term: Term) -> bool:
    return term.unit and term.fill is None and not any(a.mean for a in term.axes or ())
