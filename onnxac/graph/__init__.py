"""A model ⇄ an editable graph.

In   a ModelProto.
Out  `model.Model`: the graph as graphsurgeon sees it, topology only, and back as a protobuf in
     which everything that nobody touched is as it was.

`operators` is the table of what is known of an operator by its name alone, `rewiring` and
`reachable` are what passes over the graph share. Nothing here knows what operators compute.

Requires a valid model. Ensures that names, order and raw bits of what stays are as they were.
"""
