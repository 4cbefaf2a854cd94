"""Affine sums → what to substitute into what.

In   a graph in its order, which `survey` lowers.
Out  `search.Plan`: changes, each of which costs no more than what it replaces.

Requires that definitions are over tensors of the graph. Ensures that each change is exact by
itself and can be left out alone, that no change costs more than what it replaces, and that what
is pinned (outputs, what bodies read, what --keep names) is still there. Shapes only: no weight is
read but to see whether a bias is zero, and no node is written.
"""
