"""Files: read and checked, written whole or not at all.

In   a path, or a model in memory.
Out  a ModelProto whose large weights stay in their files; a file in its place.

`files` reads and checks, `wire` finds weights in the bytes of a file and leaves them there,
`draft` makes a model file beside its target, `disk` is the one module that writes.

Requires valid ONNX: `files.check` raises `ModelError` for anything else. Ensures that weights
which nobody asks for are not read, that what is written passes onnx's checker, and that the
place it is written to holds the old file or the new one, whole.
"""
