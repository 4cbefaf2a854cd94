"""A plan → nodes and initializers, in one step.

In   `planning.search.Plan`.
Out  the rewritten graph, and `changes`: what was done, told in terms of the report.

Requires that the graph is the one that was planned for. Ensures that nodes outside of the plan are
as they were, that every tensor that is read elsewhere keeps its name, and that kernels are
computed in float64 and rounded once. What can't be computed (a weight that overflows its type) is
left as it was, with its reason.
"""
