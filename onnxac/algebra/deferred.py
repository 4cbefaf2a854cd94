"""A value that is computed when somebody asks for it.

The plan is made from shapes. Kernels that it tries and drops are never computed, and a
weight that nothing touches is never read from disk. What was computed is remembered until
`forget`, so that a large model's kernels are in memory for one fusion at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Generic, TypeVar

T = TypeVar("T")

# Python's own recursion limit is 1,000 frames; each level of deferral takes two.
_MAX_DEPTH = 200


class Deferred(Generic[T]):
    """`Deferred(compute, *needs)()` is `compute()`.

    `needs` are the deferred values that `compute` will ask for. They bound the depth
    of the chain: past a limit they are computed at once and kept, so that a thousand
    nodes in a row cannot overflow the stack.
    """

    __slots__ = ("_compute", "_depth")

    _remembered: ClassVar[dict[Deferred[Any], Any]] = {}

    def __init__(self, compute: Callable[[], T], *needs: Deferred[Any]) -> None:
        self._compute = compute
        self._depth: int = 1 + max((n._depth for n in needs), default=0)
        if self._depth > _MAX_DEPTH:
            for need in needs:
                need._keep()
            self._depth = 1

    def __call__(self) -> T:
        """The value; computed now, if it is not remembered."""
        found = Deferred._remembered
        if self not in found:
            found[self] = self._compute()
        value: T = found[self]
        return value

    def _keep(self) -> None:
        value = self()
        self._compute = lambda: value
        self._depth = 0

    @staticmethod
    def of(value: T) -> Deferred[T]:
        """A value that is there already."""
        return Deferred(lambda: value)

    @staticmethod
    def forget() -> None:
        """Drop what was computed so far; it is computed again if somebody asks again."""
        Deferred._remembered.clear()
