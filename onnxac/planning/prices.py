"""What definitions cost when they are written: each form of them is worked out once.

A network is made of blocks that differ in their weights only, and a search asks for the same sums
over and over. What a recipe costs follows from shapes, so it is kept by what it follows from.
"""

from __future__ import annotations

from collections.abc import Hashable

from onnxac.algebra import Sum
from onnxac.inference.facts import Facts
from onnxac.recipes.cost import Cost
from onnxac.recipes.recipe import recipe

# Longer sums hardly come twice, and to look at all of one takes as long as to price it.
_LONGEST = 32


class Prices:
    """The costs of the definitions of one graph.

    eager  as they are where terms are one operator whatever the estimate
    """

    def __init__(self, facts: Facts, *, eager: bool = False) -> None:
        self.facts, self.eager = facts, eager
        self._known: dict[Hashable, Cost] = {}

    def of(self, definition: Sum, tensor: str, wide: int | None = None) -> Cost:
        """The cost of `recipe`, of the same arguments."""
        form = self._form(definition, tensor, wide)
        if form is None:
            return self._worked_out(definition, tensor, wide)
        known = self._known.get(form)
        if known is None:
            known = self._known[form] = self._worked_out(definition, tensor, wide)
        return known

    def _worked_out(self, definition: Sum, tensor: str, wide: int | None) -> Cost:
        return recipe(definition, tensor, self.facts, wide, eager=self.eager).cost

    def _form(self, definition: Sum, tensor: str, wide: int | None) -> Hashable | None:
        """All that the cost hangs on; None where it hangs on values as well."""
        if len(definition.terms) > _LONGEST:
            return None
        facts = self.facts
        sources, kernels = dict[str, int](), dict[int, int]()
        terms: list[Hashable] = []
        for term in definition.terms:
            # A factor of −1 is a minus sign, and borders may hold the same value or not.
            if term.fill is not None or (term.axes is None and not term.unit):
                return None
            shape = facts.shape(term.source)
            terms.append(
                (
                    sources.setdefault(term.source, len(sources)),
                    term.source if shape is None else shape,
                    facts.dtype(term.source),
                    kernels.setdefault(id(term.kernel), len(kernels)),
                    term.axes,
                    # Not compared, and yet it may say what reads past an edge.
                    tuple(a.fits for a in term.axes or ()),
                    term.view,
                    term.depth,
                    term.hidden,
                    term.channels,
                    term.unit,
                )
            )
        order: Hashable = None
        if len(terms) > len(sources):
            # Terms over one source are added up in the order of their steps.
            steps = [t.first_step for t in definition.terms]
            order = tuple(sorted(range(len(steps)), key=steps.__getitem__))
        biases = frozenset((b.axis if b.size > 1 else None, b.size) for b in definition.biases)
        first = next((b.axis for b in definition.biases if b.size > 1), None)
        shape = facts.shape(tensor)
        return (tuple(terms), order, biases, first, facts.dtype(tensor), shape, wide)
