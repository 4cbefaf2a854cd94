"""Extents: numbers where they are static, formulas over a root where they are dynamic.

Arithmetic on them is exact, or says None: nothing is known of the result then. Formulas hold for
extents of the model's inputs of at least 1; what sizes an empty input leads to is not looked at.
What decides something (a comparison, the smaller of two) holds for 0, too. Any other extent may be
0, such as the number of boxes that were found.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from onnxac.algebra import Axis

# What the name of an extent begins with that is none of the model's inputs'.
UNKNOWN = "?"
# Longest root, and largest number in a formula.
_LONGEST, _MOST = 400, 2**53


@dataclass(frozen=True, slots=True)
class Extent:
    """A dynamic extent: ⌊(up·(root − 1) + extent) / stride⌋ + 1, as a window makes it.

    root  name of what it is a formula of: a dim of the model's inputs, or the text of `of`
    of    the extents of which the root is the product, if it is no name of its own
    batch the root is the first extent of an input, of which costs take one
    """

    root: str
    up: int = 1
    stride: int = 1
    extent: int = 0
    of: tuple[Extent, ...] = field(default=(), compare=False)
    batch: bool = field(default=False, compare=False)

    def through(self, axis: Axis) -> Extent | None:
        """The number of outputs of `axis` over a source of this extent; None for a long formula."""
        if axis.sampling is not None:
            return self.times(axis.sampling.factor).through(axis.unsampled)
        base = self if axis.up == 1 or self.stride == 1 else self._as_root()
        return _if_short(
            base.changed(
                base.up * axis.up,
                base.stride * axis.stride,
                base.extent * axis.up + axis.extent * base.stride,
            )
        )

    def changed(self, up: int, stride: int, extent: int) -> Extent:
        """Another formula over the same root; equal extents come out equal."""
        if (up, stride, extent) == (1, 1, 0) and len(self.of) == 1:
            return self.of[0]
        return Extent(self.root, up, stride, extent, self.of, self.batch)

    def times(self, number: int) -> Extent:
        """The extent times a positive number."""
        base = self if self.stride == 1 or number == 1 else self._as_root()
        return base.changed(
            number * base.up, base.stride, number * (base.extent + base.stride) - base.stride
        )

    def _as_root(self) -> Extent:
        """The same extent as a root, named by its formula; only to be changed at once."""
        return Extent(str(self), of=(self,))

    def at(self, root: int) -> int:
        """Its value where the root has the value `root`."""
        return (self.up * (root - 1) + self.extent) // self.stride + 1

    def names(self) -> Iterator[str]:
        """The dims that it is a formula of, by name."""
        if not self.of:
            yield self.root
        for extent in self.of:
            yield from extent.names()

    def value(self, dims: Mapping[str, int]) -> int:
        """Its value where those dims have these values."""
        return self.at(math.prod(e.value(dims) for e in self.of) if self.of else dims[self.root])

    def nominal(self, value: int) -> int:
        """Its value where all that it is a formula of has that value, but for a batch of 1."""
        own = 1 if self.batch else value
        return self.at(math.prod(e.nominal(value) for e in self.of) if self.of else own)

    def least(self, inputs: int = 0) -> float:
        """It is never less than this, where no extent of an input is less than `inputs`."""
        if self.up < 0:
            return -math.inf
        if not self.of:
            return self.at(0 if self.root.startswith(UNKNOWN) else inputs)
        factors = [e.least(inputs) for e in self.of]
        if math.isinf(min(factors)) or (min(factors) < 0 and len(factors) > 1):
            return -math.inf
        return self.at(math.prod(map(int, factors)))

    @property
    def multiple(self) -> int | None:
        """The number that it is times its root; None where it is no multiple of that."""
        return self.up if self.stride == 1 and self.extent + 1 == self.up else None

    def factors(self) -> tuple[int, tuple[Extent, ...]]:
        """A number and extents of which it is the product."""
        if self.multiple is None:
            return 1, (self,)
        return self.multiple, self.of or (Extent(self.root, batch=self.batch),)

    def __str__(self) -> str:
        if (self.up, self.stride, self.extent) == (1, 1, 0):
            return self.root
        return f"({self.up}*({self.root}-1)+{self.extent})//{self.stride}+1"


def _if_short(made: Extent) -> Extent | None:
    """The extent, if its formula is worth following: a deep graph must not make endless ones."""
    largest = max(made.up, made.stride, abs(made.extent))
    return made if len(made.root) <= _LONGEST and largest < _MOST else None


Dim = int | Extent
Shape = tuple[Dim, ...]


def static(dims: Sequence[Dim]) -> list[int | None]:
    """The dims that are numbers; None for those that are dynamic."""
    return [d if isinstance(d, int) else None for d in dims]


def plus(a: Dim | None, b: Dim | None) -> Dim | None:
    """The sum of two extents."""
    if a is None or b is None:
        return None
    if isinstance(a, int):
        a, b = b, a
    if isinstance(a, int) and isinstance(b, int):
        return a + b
    assert isinstance(a, Extent)
    if isinstance(b, int):
        return _if_short(a.changed(a.up, a.stride, a.extent + b * a.stride))
    if a.root == b.root and a.stride == b.stride == 1:
        return _if_short(a.changed(a.up + b.up, 1, a.extent + b.extent + 1))
    return None


def minus(a: Dim | None, b: Dim | None) -> Dim | None:
    """The difference of two extents."""
    if isinstance(b, int):
        return plus(a, -b)
    if not isinstance(a, Extent) or b is None or a.root != b.root:
        return None
    if (a.up, a.stride) == (b.up, b.stride):
        whole, rest = divmod(a.extent - b.extent, a.stride)
        return None if rest else whole
    if a.stride == b.stride == 1 and a.up > b.up:
        return a.changed(a.up - b.up, 1, a.extent - b.extent - 1)
    return None


def product(dims: Iterable[Dim | None]) -> Dim | None:
    """The product of extents; equal products are equal, in whatever order they come."""
    number, extents = 1, list[Extent]()
    for dim in dims:
        if dim is None:
            return None
        n, more = (dim, ()) if isinstance(dim, int) else dim.factors()
        number *= n
        extents += more
    if not number or not extents:
        return number
    if len(extents) == 1:
        return _if_short(extents[0].times(number))
    extents.sort(key=str)
    root = f"({'·'.join(map(str, extents))})"
    return _if_short(Extent(root, up=number, extent=number - 1, of=tuple(extents)))


def divided(a: Dim | None, b: Dim | None) -> Dim | None:
    """⌊a / b⌋ for extents that are not negative."""
    if a is None or b is None or b == 0 or (isinstance(b, int) and b < 0):
        return None
    if isinstance(a, int) and isinstance(b, int):
        return a // b if a >= 0 else None
    exact = quotient([a], [b])
    if exact is not None or not isinstance(a, Extent) or not isinstance(b, int):
        return exact
    if a.least(inputs=1) < 0:
        # It may be negative, where rounding down and rounding to zero differ.
        return None
    return _if_short(a.changed(a.up, a.stride * b, a.extent + a.stride - a.stride * b))


def quotient(above: Iterable[Dim], below: Iterable[Dim]) -> Dim | None:
    """The product of extents over that of others, where it divides without rest by itself."""
    number, extents = _all_factors(above)
    divisor, others = _all_factors(below)
    if not divisor or number % divisor or others - extents:
        return None
    return product([number // divisor, *(extents - others).elements()])


def _all_factors(dims: Iterable[Dim]) -> tuple[int, Counter[Extent]]:
    number, extents = 1, Counter[Extent]()
    for dim in dims:
        n, more = (dim, ()) if isinstance(dim, int) else dim.factors()
        number *= n
        extents.update(more)
    return number, extents


def larger(a: Dim | None, b: Dim | None) -> Dim | None:
    """The larger of two extents."""
    order = _order(a, b, inputs=1)
    return None if order is None else (a if order >= 0 else b)


def smaller(a: Dim | None, b: Dim | None) -> Dim | None:
    """The smaller of two extents."""
    order = _order(a, b)
    return None if order is None else (a if order <= 0 else b)


def _order(a: Dim | None, b: Dim | None, inputs: int = 0) -> int | None:
    """Negative, zero or positive as a is less than, equal to or greater than b."""
    if a is None or b is None:
        return None
    difference = minus(a, b)
    if isinstance(difference, int):
        return difference
    if isinstance(a, Extent) and isinstance(b, int):
        return 1 if b <= a.least(inputs) else None
    return -1 if isinstance(b, Extent) and isinstance(a, int) and a <= b.least(inputs) else None


def equal(a: Dim | None, b: Dim | None) -> bool | None:
    """Whether two extents are the same; None where that depends."""
    if a is None or b is None:
        return None
    if a == b:
        return True
    if isinstance(a, int) and isinstance(b, int):
        return False
    if isinstance(minus(a, b), int):
        return False
    number, extent = (a, b) if isinstance(a, int) else (b, a)
    below = isinstance(number, int) and isinstance(extent, Extent) and number < extent.least()
    return False if below else None


def broadcast(a: Dim | None, b: Dim | None) -> Dim | None:
    """The extent of an elementwise result, of a model that runs."""
    if a == 1:
        return b
    if b in (1, a):
        return a
    # The other one is 1, or the same.
    fixed = [d for d in (a, b) if isinstance(d, int)]
    return fixed[0] if fixed else None


def joined(shapes: Sequence[Shape], axis: int) -> list[Dim | None]:
    """Shape of a concatenation along `axis`."""
    dims: list[Dim | None] = list(shapes[0])
    total: Dim | None = 0
    for shape in shapes:
        total = plus(total, shape[axis])
    dims[axis] = total
    return dims
