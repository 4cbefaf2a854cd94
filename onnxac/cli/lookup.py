"""Finding a node by the name that a user gives."""

from __future__ import annotations

from difflib import get_close_matches

from onnx import ModelProto

from onnxac.errors import UsageError
from onnxac.report import NodeRef
from onnxac.report.places import all_nodes


def find_node(model: ModelProto, name: str, where: str) -> NodeRef:
    """The node of this name, or that makes the tensor of this name.

    Raises UsageError with the most similar names where there is none.
    """
    known: dict[str, NodeRef] = {}
    for node in all_nodes(n for g in (model.graph, *model.functions) for n in g.node):
        # A node without a name is known by its first output.
        ref = NodeRef(node.name or next(iter(node.output), ""), node.op_type)
        known.setdefault(ref.name, ref)
        for output in node.output:
            known.setdefault(output, ref)
    if name in known:
        return known[name]
    close = get_close_matches(name, known, 3, cutoff=0.4)
    hint = f"similar: {', '.join(close)}" if close else "`onnxac explain` without --node lists some"
    raise UsageError(f"{where}: no node {name!r}; {hint}")
