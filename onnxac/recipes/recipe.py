"""How a definition is written with operators, and what that costs.

A recipe decides everything: which terms become one operator, on which axes, behind which
Transpose, Pad or Slice, and who holds the bias. `rewriting.builder` walks it. Shapes only.

For each term there may be several ways, each with its own order of axes; a way that needs no
rearrangement is taken at once, otherwise the cheapest one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from onnxac.algebra import Obstacle, Sum, Term, add
from onnxac.algebra.add import by_key
from onnxac.algebra.frames import extents
from onnxac.inference.facts import Facts
from onnxac.recipes.cost import IMPOSSIBLE, ONE_MORE, Cost, total
from onnxac.recipes.site import Piece, Site
from onnxac.recipes.writing import write


@dataclass(frozen=True, slots=True)
class Recipe:
    """Pieces that are added up, and the cost of all of it.

    pieces  those with one tail stand together: they are added up before it
    hosted  the first piece's operator takes the bias in
    """

    pieces: tuple[Piece, ...]
    hosted: bool
    cost: Cost

    @property
    def groups(self) -> list[list[Piece]]:
        """Pieces with one tail, together, in order."""
        return [list(same) for _, same in groupby(self.pieces, lambda p: p.tail_key)]


def recipe(
    definition: Sum,
    tensor: str,
    facts: Facts,
    wide: int | None = None,
    *,
    swapped: bool = False,
    eager: bool = False,
) -> Recipe:
    """The cheapest recipe found for `tensor`; its cost is IMPOSSIBLE where no operator does it.

    wide     the widest element type that any part of it was computed in, if not the tensor's own
    swapped  of the two forms of an upsampling, take the one that is estimated to be slower
    eager    terms over one source are one operator though it is estimated to take longer
    """
    site = Site(definition, tensor, facts, wide)
    site = site.other_form() if swapped else site
    site = site.eagerly() if eager else site
    pieces: list[Piece] = []
    for terms in by_key(definition.terms).values():
        pieces += _merged(terms, site)
    # A bias needs a host, and a sum must not begin with a minus sign.
    pieces.sort(key=lambda p: (not site.hosts(p), p.negative))
    first = pieces[0]
    by_tail: dict[object, list[Piece]] = {}
    for piece in pieces:
        by_tail.setdefault(piece.tail_key, []).append(piece)
    ordered = tuple(p for same in by_tail.values() for p in same)
    hosted = site.hosts(first)
    if site.has_bias:
        # What does not take the bias in need not be an operator that could.
        bare = site.without_bias()
        ordered = tuple(
            p if p.host is None or (hosted and p is first) else write(p.term, bare) for p in ordered
        )
    return Recipe(ordered, hosted, _cost(ordered, hosted, site))


def _merged(terms: Sequence[Term], site: Site) -> list[Piece]:
    """Terms over one source as few operators, where one is not dearer than several.

    Taps that interleave may pay only all together, so that is looked at first.
    """
    if len(terms) == 1:
        return [write(terms[0], site)]
    ordered = sorted(terms, key=lambda t: (-t.taps, t.first_step))
    pieces = [write(t, site) for t in ordered]
    whole = _joined(pieces, site)
    if whole is not None:
        return [whole]
    groups: list[Piece] = []
    for piece in pieces:
        for at, other in enumerate(groups):
            merged = _joined([other, piece], site)
            if merged is not None:
                groups[at] = merged
                break
        else:
            groups.append(piece)
    return groups


def _joined(pieces: Sequence[Piece], site: Site) -> Piece | None:
    """Pieces as one, where that is not dearer."""
    shaped = next((p.term for p in pieces if p.term.axes is not None), pieces[0].term)
    made = add([p.term for p in pieces], extents(shaped, site.facts.shape))
    if isinstance(made, Obstacle):
        return None
    piece = write(made, site)
    adding = Cost(elements=3 * site.elements, nodes=1)
    apart = total([*(p.cost for p in pieces), *[adding] * (len(pieces) - 1)])
    taken = piece.cost.is_within(apart) or (site.eager and piece.cost.is_worth_a_try(apart))
    return piece if taken else None


def _cost(pieces: Sequence[Piece], hosted: bool, site: Site) -> Cost:
    """Everything together: operators, sums, a bias without a host; what is shared counts once."""
    adding = Cost(elements=3 * site.elements, nodes=1)
    costs: list[Cost] = []
    heads: set[object] = set()
    tails: set[object] = set()
    for piece in pieces:
        if piece.cost.nodes == IMPOSSIBLE.nodes:
            return IMPOSSIBLE
        for place, step in enumerate(piece.steps):
            head = (piece.term.source, *(s.key for s in piece.steps[: place + 1]))
            if head not in heads:
                costs.append(step.cost)
            heads.add(head)
        if piece.tail_key not in tails:
            costs += [s.cost for s in piece.tail]
            tails.add(piece.tail_key)
    costs += [adding] * (len(pieces) - 1 + pieces[0].negative)
    if len(pieces) > 1:
        # What was computed over a longer source, and is now made longer itself.
        costs += [ONE_MORE for p in pieces if p.is_resized]
    if site.has_bias and not hosted:
        if site.wide != site.dtype:
            # The sum would be rounded before the bias is added.
            return IMPOSSIBLE
        costs.append(Cost(elements=2 * site.elements, weights=site.bias_size, nodes=1))
    return total(costs)
