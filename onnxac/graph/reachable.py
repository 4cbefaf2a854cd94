"""Which nodes of a graph something depends on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import onnx_graphsurgeon as gs


def alive(
    nodes: Sequence[gs.Node],
    needed: Iterable[str],
    is_leaf: Callable[[str], bool] = lambda _: False,
) -> list[gs.Node]:
    """Nodes that the tensors `needed` depend on, in order.

    is_leaf  tensors to stop at: what computes them does not count
    """
    makers = {t.name: n for n in nodes for t in n.outputs if t.name}
    waiting = list(needed)
    found: set[int] = set()
    while waiting:
        name = waiting.pop()
        maker = makers.get(name)
        if maker is None or id(maker) in found or is_leaf(name):
            continue
        found.add(id(maker))
        waiting += [t.name for t in maker.inputs if not isinstance(t, gs.Constant)]
    return [n for n in nodes if id(n) in found]
