"""How a report names a node."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class NodeRef:
    """A node as the user can find it: its name, and its operator type."""

    name: str
    op: str
