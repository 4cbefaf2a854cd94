"""A plan → nodes and initializers, in one step.

In   `planning.search.Plan`.
Out  the rewritten graph, and `changes`: what was done, told in terms of the report.
"""
