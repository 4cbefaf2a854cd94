"""Affine sums → what to substitute into what, and how to write what is left.

In   the definitions of all linear tensors (`survey`).
Out  `search.Plan`: changes, each of which costs no more than what it replaces.

Shapes only: no weight is read, and no node is written.
"""
