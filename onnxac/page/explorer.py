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
    """Counterparts and pairs; a node that several claim stays with the first of them."""
    groups: list[tuple[list[int], list[int]]] = []
    taken: set[tuple[str, int]] = set()
    claims = [(c.before, c.after) for c in matching.counterparts]
    claims += [((i,), (j,)) for i, j in (*matching.unchanged, *matching.changed)]
    for befores, afters in claims:
        mine = [i for i in befores if ("b", i) not in taken]
        theirs = [j for j in afters if ("a", j) not in taken]
        taken.update(("b", i) for i in mine)
        taken.update(("a", j) for j in theirs)
        groups.append((mine, theirs))
    return groups
