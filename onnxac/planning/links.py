"""Disjoint sets of tensors, by union-find."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable


class Links:
    """Sets of tensors; each tensor stands in one."""

    def __init__(self, tensors: Iterable[str]) -> None:
        self._parent = {t: t for t in tensors}

    def root(self, tensor: str) -> str:
        """The tensor that stands for the set."""
        while self._parent[tensor] != tensor:
            self._parent[tensor] = self._parent[self._parent[tensor]]
            tensor = self._parent[tensor]
        return tensor

    def join(self, a: str, b: str) -> None:
        """Make one set of two."""
        self._parent[self.root(a)] = self.root(b)

    def groups(self) -> list[list[str]]:
        """The sets, each in the order in which the tensors were given."""
        found: dict[str, list[str]] = defaultdict(list)
        for tensor in self._parent:
            found[self.root(tensor)].append(tensor)
        return list(found.values())
