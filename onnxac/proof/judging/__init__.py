"""How far apart two results are, and how far they may be.

In   arrays of the one model and of the other, and both graphs.
Out  for each tensor the worst error and what is allowed; what else the graphs share.

Requires that both were run on the same feeds. Ensures that what is allowed follows from element
types and from the noise of the original itself, and never from how the result was made.
"""
