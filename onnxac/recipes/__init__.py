"""A sum → how it can be written with operators, and what that costs.

In   a definition of a tensor (`lowering`), and the shapes around it.
Out  `recipe.Recipe`: the steps that write it, cheapest first, each step an operator with its
     attributes, its weights not yet computed, and its cost.

`steps` are the operators that there are, `ways` the ways to write one term, `cost` is the one
count of multiply-adds that report and plan share.

Requires shapes, no weights: none is read but to see whether a bias is zero. Ensures that what
is written computes the sum at every size, and that the runtime has it in the element type.
"""
