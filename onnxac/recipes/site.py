"""The tensor that is written, and the pieces that are ways to write one term of it."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass

from onnxac.algebra import Sum, Term
from onnxac.inference.facts import Facts
from onnxac.recipes.cost import NOTHING, Cost
from onnxac.recipes.steps import Dims, Step, size


@dataclass(frozen=True, slots=True)
class Piece:
    """One way to write one term.

    steps     from the source on, in order
    tail      what brings the result into the order of the tensor's axes
    host      number of the step that can take a bias in along the term's channels
    negative  it is subtracted
    made      dims of what the tail begins with
    """

    term: Term
    steps: tuple[Step, ...] = ()
    tail: tuple[Step, ...] = ()
    host: int | None = None
    negative: bool = False
    cost: Cost = NOTHING
    made: Dims = ()

    @property
    def is_resized(self) -> bool:
        """Whether an operator with weights is followed by what makes its result longer."""
        return any(s.weighted for s in self.steps) and any(
            s.op in ("Resize", "Upsample") for s in self.tail
        )

    @property
    def tail_key(self) -> tuple[object, ...]:
        """Equal for pieces that can be added up before their tail: it does the same to both."""
        return (self.made, *(s.key for s in self.tail)) if self.tail else ()


class Site:
    """The tensor that is written: its shape, element type, opset, and bias.

    dtype  element type that it is computed in; `own` is the tensor's
    wide   the widest that any part of it was computed in
    """

    def __init__(self, definition: Sum, tensor: str, facts: Facts, wide: int | None = None) -> None:
        self.facts, self.opset = facts, facts.opset
        self.dtype, self.shape = facts.dtype(tensor), facts.shape(tensor)
        self.own = self.dtype
        self.wide = self.own if wide is None else wide
        self.elements = size(self.shape)
        biases = definition.biases
        self.swapped = self.eager = False
        self.has_bias = bool(biases)
        self.bias_size = max((b.size for b in biases), default=0)
        self.bias_axis = next((b.axis for b in biases if b.size > 1), None)

    def other_form(self) -> Site:
        """The same tensor, where another form of an upsampling is wanted than the model takes."""
        other = copy(self)
        other.swapped = True
        return other

    def eagerly(self) -> Site:
        """The same tensor, where terms become one operator though the estimate is against it."""
        other = copy(self)
        other.eager = True
        return other

    def without_bias(self) -> Site:
        """The same tensor, for what does not take a bias in."""
        bare = copy(self)
        bare.has_bias = False
        return bare

    def of_shape(self, shape: Dims) -> Site:
        """A tensor of another shape, which this one is made of."""
        other = copy(self)
        other.shape, other.elements = shape, size(shape)
        return other

    def computing(self, kind: int | None) -> Site:
        """The same tensor, computed in an element type before it is brought to its own."""
        other = copy(self)
        other.dtype = kind
        return other

    def runs(self, op: str) -> bool:
        """Whether an operator may be written for the type that it is computed in."""
        return self.facts.runs(op, self.dtype)

    def hosts(self, piece: Piece) -> bool:
        """Whether the piece's operator can take the bias in."""
        channels = piece.term.channels
        if piece.host is None or channels is None or not self.has_bias:
            return False
        return self.bias_axis in (None, channels.axis)
