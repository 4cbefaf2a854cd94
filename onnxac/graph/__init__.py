"""A file ⇄ an editable graph.

In   a path or a ModelProto.
Out  `model.Model`: the graph as graphsurgeon sees it, topology only, and back as a protobuf in
     which everything that nobody touched is as it was.

`files` reads and checks, `draft` writes, `operators` is the table of what is known by name
alone. Nothing here knows what operators compute.

Requires valid ONNX: `files.check` raises `ModelError` for anything else. Ensures that weights
which nobody asks for are not read, that what is written passes onnx's checker, and that the
place it is written to holds the old file or the new one, whole.
"""
