"""Affine sums → what to substitute into what, and how to write what is left.

In   a simplified graph. `reordering` changes the order of operators in it, `survey` lowers it.
Out  `search.Plan`: changes, each of which costs no more than what it replaces.

Shapes only: no weight is read, and no node is written.
"""
