"""What is known of each tensor without running the model: element type, shape, constant value.

In   `graph.model.Model`.
Out  `facts.Facts`: read only once it is made. Dynamic extents are formulas over the model's
     inputs (`dims`), attributes of sliding windows are geometry (`windows`).

Requires a graph in order, each tensor with one writer. Ensures that what is said holds for every
run of the model: what depends on an input's size is a formula or unknown, never a guess. Values of
constants are computed when they are asked for, and given back by `release`.
"""
