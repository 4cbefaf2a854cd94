"""Models, run: in a process of their own, on inputs that nobody has to give.

In   a model or a file.
Out  arrays, or why there are none: it crashed, hung, or took too much.

`signature` and `sizes` say what may be fed, `feeds` makes it, `process` and `worker` are the two
ends of the pipe; `reference` stands in where ONNX Runtime lacks a type, `latency` times.

Requires only that a model is valid. Ensures that a crash costs no more than the process.
"""
