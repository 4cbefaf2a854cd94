"""The cheapest way to write one term, in the element type that it is computed in."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from onnxac.algebra import Term
from onnxac.inference.casts import widest
from onnxac.recipes.cost import IMPOSSIBLE, Cost, total
from onnxac.recipes.site import Piece, Site
from onnxac.recipes.steps import Dims, Step, size
from onnxac.recipes.ways import Writer

# Operators that round each element on its own, whatever comes behind.
_ROUNDING = frozenset({"Mul", "BatchNormalization", "ReduceMean", "GlobalAveragePool"})


def write(term: Term, site: Site) -> Piece:
    """The cheapest way to write a term; its cost is IMPOSSIBLE where no operator does it."""
    source = site.facts.dtype(term.source)
    if site.wide == site.dtype and source in (None, site.dtype):
        return _written(term, site)
    # What it went through: the source, the widest type, and its own.
    kinds = dict.fromkeys([widest((source, site.dtype)), widest((source, site.wide))])
    narrow, *wide = (_between(term, site, source, kind) for kind in kinds)
    return min((narrow, *wide), key=lambda p: (site.has_bias and not site.hosts(p), p.cost.time))


def _between(term: Term, site: Site, source: int | None, kind: int | None) -> Piece:
    """A term computed in an element type, between a Cast to it and one to the tensor's own.

    In a type that is narrower than what it went through, operators accumulate or move elements.
    """
    narrow = kind != widest((kind, site.wide))
    piece = _written(term, site.computing(kind), _accumulates if narrow else _any)
    head: tuple[Step, ...] = ()
    tail: tuple[Step, ...] = ()
    dims = piece.made or tuple(site.shape or ())
    if source not in (None, kind):
        read = tuple(site.facts.shape(term.source) or dims)
        head = (_cast(read, source, kind),)
    if kind != site.dtype:
        tail = (_cast(tuple(site.shape or dims), kind, site.dtype),)
    return replace(
        piece,
        steps=(*head, *(replace(s, kind=kind) for s in piece.steps)),
        tail=(*(replace(s, kind=kind) for s in piece.tail), *tail),
        host=None if piece.host is None else piece.host + len(head),
        cost=total([piece.cost, *(s.cost for s in (*head, *tail))]),
        made=dims,
    )


def _cast(dims: Dims, source: int | None, kind: int | None) -> Step:
    cost = Cost(elements=2 * size(dims), nodes=1)
    return Step("Cast", dims, cost, {"to": kind}, kind=source)


def _any(piece: Piece) -> bool:
    return True


def _accumulates(piece: Piece) -> bool:
    """Whether what it computes is rounded once, at the end."""
    return not any(s.op in _ROUNDING for s in piece.steps)


def _written(term: Term, site: Site, accepts: Callable[[Piece], bool] = _any) -> Piece:
    """The cheapest way among those that are accepted."""
    if term.is_source:
        return Piece(term)
    if site.shape is not None and len(site.shape) < len(term.axes or ()) - term.hidden:
        # The file tells of fewer axes than there are: nobody knows who believes it.
        return Piece(term, cost=IMPOSSIBLE)
    if 0 in (site.facts.shape(term.source) or ()):
        # There is nothing to compute.
        return Piece(term, cost=IMPOSSIBLE)
    best, least = Piece(term, cost=IMPOSSIBLE), math.inf
    for way in filter(accepts, Writer(term, site).ways()):
        time = way.cost.time
        if site.has_bias and not site.hosts(way):
            # What does not take the bias in needs an Add behind it.
            time += Cost(elements=2 * site.elements, nodes=1).time
        if time < least:
            best, least = way, time
        if len(way.steps) <= 1 and not way.tail and (site.hosts(way) or not site.has_bias):
            break
    return best
