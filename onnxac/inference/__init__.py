"""What is known of each tensor without running the model: element type, shape, constant value.

In   `graph.model.Model`.
Out  `facts.Facts`: read only once it is made. Dynamic extents are formulas over the model's
     inputs (`dims`), attributes of sliding windows are geometry (`windows`).
"""
