"""onnxac inside other tools: as their pass, or their callback.

In   a model in the form of the other tool.
Out  the merged one in the same form, and whether anything was changed, as that tool asks for it.

Requires the other tool, which nothing else here loads. Ensures what `optimize` ensures: what comes
back is proven, or it is what went in.
"""
