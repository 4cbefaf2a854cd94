"""Operators in another order, where that lets something merge that stood apart.

In   a simplified graph, and what is known of its tensors.
Out  the same graph in another order, a copy of the facts with the tensors that are new, and what
     was moved for which change.

`order` goes through the kinds: Transposes that are opposite, scales, branches behind a Concat.

Requires that nobody holds on to the graph as it was. Ensures that the function is the same, and
that each move belongs to a change which can be left out alone.
"""
