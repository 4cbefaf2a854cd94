"""A file ⇄ an editable graph.

In   a path or a ModelProto.
Out  `model.Model`: the graph as graphsurgeon sees it, topology only, and back as a protobuf in
     which everything that nobody touched is as it was.

`files` reads and checks, `draft` writes. Knows nothing of what operators compute.
"""
