"""The matching as a mapping file for Google's Model Explorer.

Its side-by-side view can load one ("Upload mapping from computer"): `SyncNavigationData` in
its sources, whose `mappingEntries` are many to many and hold a node at most once. The ONNX
adapter's node ids are the names of the nodes, so unnamed nodes can't be mapped.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from onnx import ModelProto

from .pairing import Matching


def model_explorer_mapping(
    before: ModelProto, after: ModelProto, matching: Matching
) -> dict[str, Any]:
    """What to write as JSON; the model before is to be opened in the left pane."""
    left, right = _names(before), _names(after)
    entries = []
    for befores, afters in _disjoint(matching):
        ids = [left[i] for i in befores if i in left], [right[j] for j in afters if j in right]
        if ids[0] and ids[1]:
            entries.append({"leftNodeIds": ids[0], "rightNodeIds": ids[1]})
    return {
        "type": "sync_navigation",
        "mappingEntries": entries,
        "disableMappingFallback": True,
        "showDiffHighlights": True,
    }


def _names(model: ModelProto) -> dict[int, str]:
    """Names by position, where a name is one and belongs to one node."""
    uses = Counter(n.name for n in model.graph.node)
    return {i: n.name for i, n in enumerate(model.graph.node) if n.name and uses[n.name] == 1}


def _disjoint(matching: Matching) -> list[tuple[list[int], list[int]]]:
    """Pairs and counterparts, those that share a node put together."""
    groups: list[tuple[list[int], list[int]]] = []
    where: dict[tuple[str, int], int] = {}
    pairs = ((list(c.before), list(c.after)) for c in matching.counterparts)
    for befores, afters in (*pairs, *(([i], [j]) for i, j in matching.unchanged)):
        keys = [("b", i) for i in befores] + [("a", j) for j in afters]
        home = next((where[k] for k in keys if k in where), len(groups))
        if home == len(groups):
            groups.append(([], []))
        for key in keys:
            # A node that two groups claim stays with the first: an entry may name it once.
            if where.setdefault(key, home) == home and key[1] not in groups[home][key[0] == "a"]:
                groups[home][key[0] == "a"].append(key[1])
    return groups
